'use strict';
// A stock sofa-rpc-node server of axle.interop.Ledger. Argument: port.

const { RpcServer } = require('sofa-rpc-node').server;
const { pause, untilStopped } = require('./report');

const quiet = { info() {}, warn: console.error, error() {}, debug() {} };
const ids = new Set();
let notes = 0;

const ledger = {
  async echo(text) {
    return text;
  },
  async add(a, b) {
    return a + b;
  },
  async repeat(text, times) {
    return text.repeat(times);
  },
  async post(entry) {
    const total = entry.amounts.reduce((sum, n) => sum + n, 0);
    return { $class: 'axle.interop.Entry', $: { account: entry.account, amounts: entry.amounts, total: { $class: 'long', $: total } } };
  },
  async slow(text, ms) {
    await pause(ms);
    return text;
  },
  async note(id) {
    ids.add(id);
    notes++;
  },
  async noted() {
    return notes === ids.size ? notes : -1;
  },
  async fail(text) {
    throw new Error(text);
  },
};

async function main() {
  const server = new RpcServer({ logger: quiet, port: { host: '127.0.0.1', port: Number(process.argv[2]) } });
  server.on('error', () => {}); // what it answers with an error is the client's to judge
  server.addService({ interfaceName: 'axle.interop.Ledger', version: '1.0' }, ledger);
  await server.start();
  await untilStopped('serving');
  process.exit(0);
}

main();
