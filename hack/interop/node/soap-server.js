'use strict';
// The stock node-soap server, of SOAP 1.1 at /ledger and of SOAP 1.2 at /ledger12. Argument: port.

const fs = require('fs');
const http = require('http');
const path = require('path');
const soap = require('soap');
const { untilStopped } = require('./report');

const wsdl = fs.readFileSync(path.join(__dirname, 'ledger.wsdl'), 'utf8');

const port = {
  Post({ account, amount }) {
    return { account, total: [].concat(amount).reduce((sum, n) => sum + n, 0) };
  },
  Fail({ status }) {
    const why = `told to, with ${status}`;
    throw { Fault: { faultcode: 'soap:Server', faultstring: why, Code: { Value: 'soap:Receiver' }, Reason: { Text: why }, statusCode: status } };
  },
};
const service = { Ledger: { LedgerPort: port } };

async function main() {
  const server = http.createServer((req, res) => res.writeHead(404).end());
  server.keepAliveTimeout = 60000;
  server.listen(Number(process.argv[2]), '127.0.0.1');
  soap.listen(server, { path: '/ledger', services: service, xml: wsdl });
  soap.listen(server, { path: '/ledger12', services: service, xml: wsdl, forceSoap12Headers: true });
  await untilStopped('serving');
  process.exit(0);
}

main();
