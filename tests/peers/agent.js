// An SNMP agent of npm's net-snmp that holds the objects of a file (see agents.py): node agent.js PORT FILE

const fs = require("fs");
const snmp = require("net-snmp");

const [port, file] = process.argv.slice(2);
const { communities, objects, transaction } = JSON.parse(fs.readFileSync(file, "utf8"));
const types = {
  INTEGER: snmp.ObjectType.Integer,
  Counter: snmp.ObjectType.Counter,
  "OCTET STRING": snmp.ObjectType.OctetString,
  "OBJECT IDENTIFIER": snmp.ObjectType.OID,
};

const valueOf = (object) =>
  object.syntax === "OCTET STRING" ? Buffer.from(object.value, "hex") : object.value;
const accessOf = (object) => snmp.MaxAccess[object.writable ? "read-write" : "read-only"];
const limitsOf = ({ syntax, low, high }) => {
  if (syntax === "INTEGER") return { ranges: [{ min: low, max: high }] };
  return syntax === "OCTET STRING" ? { sizes: [{ min: low, max: high }] } : undefined;
};

// dbCreateTransaction set to "verify" is "done" a little later, with the verdict that the file tells.
const verify = (request) => {
  const asked = request.operation === snmp.PduType.SetRequest && request.setValue === 3;
  request.done();
  if (asked) {
    setTimeout(() => {
      mib.setScalarValue(transaction.verdict, transaction.status);
      mib.setScalarValue(transaction.state, 6);
    }, 50);
  }
};

const agent = snmp.createAgent(
  { port: Number(port), address: "127.0.0.1", accessControlModelType: snmp.AccessControlModelType.Simple },
  (error) => error && console.error(error.message),
);
const mib = agent.getMib();
const tables = new Map();
for (const object of objects) {
  if (object.index.length === 0) {
    mib.registerProvider({
      name: object.prefix,
      type: snmp.MibProviderType.Scalar,
      oid: object.prefix,
      scalarType: types[object.syntax],
      maxAccess: accessOf(object),
      constraints: limitsOf(object),
      handler: transaction && transaction.state === object.prefix ? verify : undefined,
    });
    mib.setScalarValue(object.prefix, valueOf(object));
    continue;
  }
  const entry = object.prefix.replace(/\.\d+$/, "");
  if (!tables.has(entry)) tables.set(entry, { columns: new Map(), rows: new Map() });
  const { columns, rows } = tables.get(entry);
  const column = Number(object.prefix.slice(entry.length + 1));
  columns.set(column, object);
  const key = object.index.join(".");
  if (!rows.has(key)) rows.set(key, new Map(object.index.map((part, k) => [k + 1, part])));
  rows.get(key).set(column, valueOf(object));
}
for (const [entry, { columns, rows }] of tables) {
  const indices = [...rows.values()][0].size - columns.size;
  const numbers = [...columns.keys()].sort((a, b) => a - b);
  const tableColumns = numbers.map((number) => ({
    number,
    name: `column${number}`,
    type: types[columns.get(number).syntax],
    maxAccess: accessOf(columns.get(number)),
    constraints: limitsOf(columns.get(number)),
  }));
  for (let k = indices; k >= 1; k--) {
    const name = `column${k}`;
    const hidden = snmp.MaxAccess["not-accessible"];
    tableColumns.unshift({ number: k, name, type: snmp.ObjectType.Integer, maxAccess: hidden });
  }
  mib.registerProvider({
    name: entry,
    type: snmp.MibProviderType.Table,
    oid: entry,
    maxAccess: snmp.MaxAccess["not-accessible"],
    tableColumns,
    tableIndex: Array.from({ length: indices }, (_, k) => ({ columnName: `column${k + 1}` })),
  });
  for (const row of rows.values()) mib.addTableRow(entry, tableColumns.map(({ number }) => row.get(number)));
}
const authorizer = agent.getAuthorizer();
for (const [name, access] of Object.entries(communities)) {
  authorizer.addCommunity(name);
  const level = snmp.AccessLevel[access === "write" ? "ReadWrite" : "ReadOnly"];
  authorizer.getAccessControlModel().setCommunityAccess(name, level);
}
for (const socket of Object.values(agent.listener.sockets)) socket.on("listening", () => console.log("ready"));
