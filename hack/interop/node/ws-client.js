'use strict';
// Stock ws clients, with and without compression. Each keeps one connection. Argument: port.

const WebSocket = require('ws');
const { once } = require('events');
const report = require('./report');

const large = Buffer.alloc(300000, 'frames are long ');
let next = 0;

async function socket(name, options) {
  const ws = new WebSocket(`ws://shop.demo:${process.argv[2]}/chat`, {
    lookup: (host, opts, found) => (opts.all ? found(null, [ { address: '127.0.0.1', family: 4 } ]) : found(null, '127.0.0.1', 4)),
    ...options,
  });
  await once(ws, 'open');
  let stopping = false;
  ws.on('close', code => {
    if (!stopping) report.count(`${name}-open`, () => { throw new Error(`closed with ${code}`); });
  });
  ws.on('ping', () => report.count(`${name}-pinged`, () => true));
  const waiting = []; // messages that have to come back, in order
  ws.on('message', (data, binary) => waiting.shift()(binary ? data : data.toString()));
  const say = message => new Promise(resolve => {
    waiting.push(resolve);
    ws.send(message);
  });
  return {
    async close() {
      stopping = true;
      ws.close(1000);
      const [ code ] = await once(ws, 'close');
      return code === 1000;
    },
    kinds: {
      async [`${name}-text`]() {
        const text = `text ${++next}`;
        return await say(text) === text;
      },
      async [`${name}-binary`]() {
        return large.equals(await say(large));
      },
      async [`${name}-ping`]() {
        const pong = once(ws, 'pong');
        ws.ping();
        await pong;
        return true;
      },
    },
  };
}

async function main() {
  const plain = await socket('plain', { perMessageDeflate: false });
  const deflate = await socket('deflate', { perMessageDeflate: true });
  await report.calls({ ...plain.kinds, ...deflate.kinds });
  await report.count('closed', () => plain.close());
  await report.count('closed', () => deflate.close());
  report.print('in all');
  process.exit(0);
}

main();
