// usage: node -e SCRIPT -- DATA STEP LOGS PODS OUT NEEDLE
// Prints {"ms": …, "rows": …} of one step, timed behind the start of the process.
const { Session } = require('chdb');
const [data, step, logs, pods, out, needle] = process.argv.slice(1);
const session = new Session(data);
const run = (sql) => session.query(sql, 'TSV').trim();

const columns = `
  time DateTime64(3, 'UTC'), nic LowCardinality(String), src IPv4, dst IPv4, src_port UInt16, dst_port UInt16, protocol UInt8,
  direction LowCardinality(String), state LowCardinality(String), encryption LowCardinality(String), rule LowCardinality(String), acl LowCardinality(String),
  packets_sent UInt64, bytes_sent UInt64, packets_received UInt64, bytes_received UInt64,
  record_time DateTime64(3, 'UTC'), blob LowCardinality(String)`;

// A row a tuple.
const tuples = `
  SELECT fromUnixTimestamp64Milli(toInt64(f[1]), 'UTC') AS time, mac AS nic, toIPv4(f[2]) AS src, toIPv4(f[3]) AS dst,
    toUInt16(f[4]) AS src_port, toUInt16(f[5]) AS dst_port, toUInt8(f[6]) AS protocol, f[7] AS direction, f[8] AS state, f[9] AS encryption, rule, acl,
    toUInt64OrZero(f[10]) AS packets_sent, toUInt64OrZero(f[11]) AS bytes_sent, toUInt64OrZero(f[12]) AS packets_received, toUInt64OrZero(f[13]) AS bytes_received,
    record_time, blob
  FROM (
    SELECT splitByChar(',', arrayJoin(g.2)) AS f, g.1 AS rule, acl, mac, record_time, blob
    FROM (
      SELECT arrayJoin(fl.2) AS g, fl.1 AS acl, mac, record_time, blob
      FROM (
        SELECT arrayJoin(r.flowRecords.flows) AS fl, r.macAddress AS mac, parseDateTime64BestEffort(r.time, 3, 'UTC') AS record_time, blob
        FROM (
          SELECT arrayJoin(records) AS r, _path AS blob
          FROM file('${logs}/**/PT1H.json', JSONEachRow, 'records Array(Tuple(time String, macAddress String, flowRecords Tuple(flows Array(Tuple(aclID String, flowGroups Array(Tuple(rule String, flowTuples Array(String))))))))')
        ))))`;

const podColumns = ['namespace', 'name', 'uid', 'node'];
const ends = ['src', 'dst'];
const podOf = (e) => podColumns.map((c) => `if(${e}p.to > time, ${e}p.${c}, '') AS ${e}_${c}`).join(', ');
const joined = (from) => `
  SELECT f.*, ${ends.map(podOf).join(', ')} FROM ${from} AS f
  ASOF LEFT JOIN pods AS srcp ON f.src = srcp.address AND f.time >= srcp.from
  ASOF LEFT JOIN pods AS dstp ON f.dst = dstp.address AND f.time >= dstp.from`;

const settings = `SETTINGS max_threads = 2, max_insert_threads = 2, use_hive_partitioning = 0, input_format_max_bytes_to_read_for_schema_inference = 0`;
const loadPods = () => {
  run(`CREATE TABLE pods (address IPv4, from DateTime64(3, 'UTC'), to DateTime64(3, 'UTC'), namespace LowCardinality(String), name String, uid String, node LowCardinality(String)) ENGINE = MergeTree ORDER BY (address, from)`);
  run(`INSERT INTO pods SELECT toIPv4(address), fromUnixTimestamp64Milli(from, 'UTC'), fromUnixTimestamp64Milli(to, 'UTC'), namespace, name, uid, node
       FROM file('${pods}', CSVWithNames, 'address String, from Int64, to Int64, namespace String, name String, uid String, node String')`);
};
const flows = (name, more) => run(`CREATE TABLE ${name} (${columns}${more}) ENGINE = MergeTree ORDER BY (src, dst, time)`);

const steps = {
  version: () => run('SELECT version()'),
  // JSON to a table, without the pods.
  raw: () => {
    flows('flows', '');
    run(`INSERT INTO flows ${tuples} ${settings}`);
    return run('SELECT count() FROM flows');
  },
  // JSON to a table with the pods of both ends.
  ingest: () => {
    loadPods();
    flows('attributed', ends.map((e) => `, ${e}_namespace LowCardinality(String), ${e}_name LowCardinality(String), ${e}_uid LowCardinality(String), ${e}_node LowCardinality(String)`).join(''));
    run(`INSERT INTO attributed ${joined(`(${tuples})`)} ${settings}`);
    return run('SELECT count() FROM attributed');
  },
  export: () => {
    run(`SELECT * FROM attributed INTO OUTFILE '${out}' TRUNCATE FORMAT Parquet SETTINGS max_threads = 2, output_format_parquet_compression_method = 'zstd'`);
    return run('SELECT count() FROM attributed');
  },
  // Who talked to an address: pod, number of rows, first and last.
  question: () => {
    const sql = `SELECT uid, sum(n) FROM (
        SELECT src_uid AS uid, count() AS n FROM attributed WHERE dst = toIPv4('${needle}') GROUP BY uid
        UNION ALL SELECT dst_uid AS uid, count() AS n FROM attributed WHERE src = toIPv4('${needle}') GROUP BY uid)
      GROUP BY uid ORDER BY uid SETTINGS max_threads = 2`;
    const sum = () => run(sql).split('\n').reduce((n, line) => n + Number(line.split('\t')[1] || 0), 0);
    const times = [];
    let rows = 0;
    for (let i = 0; i < 8; i++) {
      const begin = performance.now();
      rows = sum();
      times.push(performance.now() - begin);
    }
    first = times[0];
    warm = times.slice(1).sort((a, b) => a - b)[3];
    return rows;
  },
};
let first, warm;
const begin = performance.now();
const rows = steps[step]();
console.log(JSON.stringify({ ms: performance.now() - begin, rows: Number(rows) || 0, version: String(rows), first, warm }));
