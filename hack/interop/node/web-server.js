'use strict';
// The stock HTTP server of Node.js. Arguments: port, and how late every second page of /hedged is, in milliseconds.

const http = require('http');
const { createHash } = require('crypto');
const { pause, untilStopped } = require('./report');

const pages = {
  // /text/7 is "text 7".
  async text(req, res, what) {
    res.setHeader('Content-Type', 'text/plain');
    res.end(`text ${what}\n`);
  },
  // /bytes/1000 has that many.
  async bytes(req, res, n) {
    res.setHeader('Content-Length', n);
    res.end(Buffer.alloc(Number(n), 'axle'));
  },
  // /drops/50 comes in that many chunks, 50 ms apart, with a trailer.
  async drops(req, res, n) {
    res.setHeader('Trailer', 'X-Drops');
    for (let i = 1; i <= n; i++) {
      res.write(`drop ${i}\n`);
      await pause(50);
    }
    res.addTrailers({ 'X-Drops': n });
    res.end();
  },
  // /echo gives the body back as it comes.
  async echo(req, res) {
    res.setHeader('Content-Type', 'application/octet-stream');
    req.pipe(res);
  },
  // /sum tells what it has got.
  async sum(req, res) {
    const hash = createHash('sha256');
    let length = 0;
    for await (const chunk of req) {
      hash.update(chunk);
      length += chunk.length;
    }
    res.end(`${length} ${hash.digest('hex')}\n`);
  },
  // /see tells what the request looked like.
  async see(req, res) {
    res.end(`${req.method} ${req.url} HTTP/${req.httpVersion} host=${req.headers.host} te=${req.headers['transfer-encoding']}\n`);
  },
  // /hedged/7 is "text 7", late or not. Each is told, and whether the client has waited for it.
  async hedged(req, res, what) {
    console.log(`took text-${what}`);
    res.on('close', () => res.writableFinished || console.log(`called off text-${what}`));
    await pause(what % 2 === 0 ? Number(process.argv[3]) : 0);
    res.end(`text ${what}\n`);
  },
  // /trace tells the context that it is in, by the names of B3.
  async trace(req, res) {
    res.end(`${req.headers['x-b3-traceid']} ${req.headers['x-b3-spanid']}`);
  },
};

async function answer(req, res) {
  const [ , name, argument ] = req.url.split('/');
  if (!pages[name]) {
    res.writeHead(404).end();
    return;
  }
  await pages[name](req, res, argument);
}

async function main() {
  const server = http.createServer({ keepAliveTimeout: 60000, requestTimeout: 0 }, answer);
  server.on('checkExpectation', (req, res) => res.writeHead(417).end());
  server.on('checkContinue', (req, res) => {
    if (req.url === '/refuse') {
      res.writeHead(413, { Connection: 'close' }).end('too large\n');
      return;
    }
    res.writeContinue();
    answer(req, res);
  });
  server.listen(Number(process.argv[2]), '127.0.0.1');
  await untilStopped('serving');
  process.exit(0);
}

main();
