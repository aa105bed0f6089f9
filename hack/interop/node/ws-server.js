'use strict';
// The stock ws server: it gives messages back, and pings. Argument: port.

const { WebSocketServer } = require('ws');
const { untilStopped } = require('./report');

async function main() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]), perMessageDeflate: true });
  server.on('connection', socket => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    const pings = setInterval(() => socket.ping(), 100);
    socket.on('close', () => clearInterval(pings));
  });
  await untilStopped('serving');
  process.exit(0);
}

main();
