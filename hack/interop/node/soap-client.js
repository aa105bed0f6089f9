'use strict';
// Stock node-soap clients, of SOAP 1.1 and of SOAP 1.2. They keep their connections. Argument: port.

const http = require('http');
const path = require('path');
const soap = require('soap');
const report = require('./report');

let next = 0;

async function ledger(name, url, namespace, options) {
  const client = await soap.createClientAsync(path.join(__dirname, 'ledger.wsdl'), options);
  client.setEndpoint(`http://127.0.0.1:${process.argv[2]}/${url}`);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const call = (method, args) => client[method](args, { forever: true, httpAgent: agent, timeout: 10000 });
  async function fails(status) {
    try {
      await call('FailAsync', { status });
    } catch (err) {
      return err.message.includes(`told to, with ${status}`) || err.message;
    }
    return false;
  }
  return {
    async [`${name}-post`]() {
      const account = `account <${++next}> & more`;
      const [ result, envelope ] = await call('PostAsync', { account, amount: [ 1, 20, 300 ] });
      return result.account === account && result.total === 321 && envelope.includes(namespace) || envelope;
    },
    async [`${name}-large`]() {
      const amount = new Array(5000).fill(2);
      const [ result ] = await call('PostAsync', { account: 'large', amount });
      return result.total === 10000;
    },
    [`${name}-fault`]: () => fails(500),
    [`${name}-fault-with-200`]: () => fails(200),
  };
}

async function main() {
  await report.calls({
    ...await ledger('soap11', 'ledger', 'http://schemas.xmlsoap.org/soap/envelope/', {}),
    ...await ledger('soap12', 'ledger12', 'http://www.w3.org/2003/05/soap-envelope', { forceSoap12Headers: true }),
  });
  report.print('in all');
  process.exit(0);
}

main();
