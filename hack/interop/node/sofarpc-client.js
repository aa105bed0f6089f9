'use strict';
// Stock sofa-rpc-node clients of axle.interop.Ledger: one for each form of Bolt's frames. Argument: port.

const bolt = require('sofa-bolt-node');
const { RpcClient } = require('sofa-rpc-node').client;
const report = require('./report');

const serverHost = `127.0.0.1:${process.argv[2]}`;
const quiet = { info() {}, warn: console.error, error: console.error, debug() {} };
const large = 'large '.repeat(5000);

let next = 0;
let notes = 0;

const java = (type, value) => ({ $class: type, $: value });
const string = text => java('java.lang.String', text);

// protocol is the library's, told which form of frames to write.
function protocol(form) {
  return Object.assign({}, bolt, { encoder: options => Object.assign(bolt.encoder(options), form) });
}

async function fails(call, right) {
  try {
    await call();
  } catch (err) {
    return right(err) || String(err);
  }
  return false;
}

// ledger are the kinds of calls over one connection. It is open first: the library would take what a connection needs to open
// from the time that a call has, and fail with an error of another name.
async function ledger(name, form) {
  const client = new RpcClient({ logger: quiet, connectionOpts: { protocol: protocol(form) } });
  const consumer = service => client.createConsumer({ interfaceName: service, version: '1.0', serverHost });
  const ours = consumer('axle.interop.Ledger');
  const nobodys = consumer('com.axlemesh.interop.Unknown');
  await Promise.all([ ours.ready(), nobodys.ready() ]);
  const invoke = (method, args, responseTimeout = 10000) => ours.invoke(method, args, { responseTimeout });
  const kinds = {
    async sync() {
      const text = `text ${++next}`;
      return await invoke('echo', [ string(text) ]) === text && await invoke('add', [ java('int', next), java('int', 4711) ]) >= 4711;
    },
    async large() {
      return await invoke('echo', [ string(large) ]) === large;
    },
    async post() {
      const amounts = java('java.util.ArrayList', [ 1, 20, 300 ]);
      const entry = java('axle.interop.Entry', { account: `account ${++next}`, amounts, total: java('long', 0) });
      const got = await invoke('post', [ entry ]);
      return got.account === entry.$.account && Number(got.total) === 321;
    },
    async slow() {
      return await invoke('slow', [ string('later'), java('int', 150) ]) === 'later';
    },
    async note() {
      await invoke('note', [ java('int', ++notes) ]);
      return true;
    },
    // The sidecar answers half a second after this client's own timer. Only if the process stood still for that long it may read
    // the answer first.
    timeout() {
      const start = Date.now();
      return fails(() => invoke('slow', [ string('too late'), java('int', 3000) ], 100),
        err => err.name === 'RpcResponseTimeoutError' || Date.now() - start > 550);
    },
    error: () => fails(() => invoke('fail', [ string('as told') ]), err => err.message.includes('as told')),
    unknown: () => fails(() => nobodys.invoke('echo', [ string('x') ], { responseTimeout: 10000 }), err => err.name !== 'RpcResponseTimeoutError'),
  };
  return Object.fromEntries(Object.entries(kinds).map(([ kind, call ]) => [ `${name}-${kind}`, call ]));
}

async function main() {
  await report.calls(Object.assign({},
    await ledger('v1', { protocolType: 'bolt', boltVersion: 1 }),
    await ledger('v2', { protocolType: 'bolt2', boltVersion: 1 }),
    await ledger('crc', { protocolType: 'bolt2', boltVersion: 2, crcEnable: true })));
  const client = new RpcClient({ logger: quiet });
  const last = client.createConsumer({ interfaceName: 'axle.interop.Ledger', version: '1.0', serverHost });
  await report.count('notes', async () => await last.invoke('noted', [], { responseTimeout: 10000 }) === notes);
  report.print('in all');
  process.exit(0);
}

main();
