// usage: node -e SCRIPT -- DATA STEP LOGS PODS OUT NEEDLE
// Prints {"ms": …, "rows": …} of one step, timed behind the start of the process.
const { DuckDBInstance } = require('@duckdb/node-api');
const [data, step, logs, pods, out, needle] = process.argv.slice(1);

const tuples = `
  WITH r AS (
    SELECT unnest(records) AS r, filename AS blob
    FROM read_json('${logs}/**/PT1H.json', filename = true, hive_partitioning = false, format = 'unstructured', maximum_object_size = 1073741824,
      columns = {records: 'STRUCT("time" VARCHAR, macAddress VARCHAR, flowRecords STRUCT(flows STRUCT(aclID VARCHAR, flowGroups STRUCT(rule VARCHAR, flowTuples VARCHAR[])[])[]))[]'})),
  f AS (SELECT unnest(r.flowRecords.flows) AS f, r.macAddress AS nic, epoch_ms(r."time"::TIMESTAMPTZ) AS record_time, blob FROM r),
  g AS (SELECT unnest(f.flowGroups) AS g, f.aclID AS acl, nic, record_time, blob FROM f),
  t AS (SELECT string_split(unnest(g.flowTuples), ',') AS t, g.rule AS rule, acl, nic, record_time, blob FROM g)
  SELECT t[1]::BIGINT AS time, nic, t[2] AS src, t[3] AS dst, t[4]::USMALLINT AS src_port, t[5]::USMALLINT AS dst_port, t[6]::UTINYINT AS protocol,
    t[7] AS direction, t[8] AS state, t[9] AS encryption, rule, acl,
    TRY_CAST(t[10] AS UBIGINT) AS packets_sent, TRY_CAST(t[11] AS UBIGINT) AS bytes_sent, TRY_CAST(t[12] AS UBIGINT) AS packets_received, TRY_CAST(t[13] AS UBIGINT) AS bytes_received,
    record_time, blob
  FROM t`;

const ends = ['src', 'dst'];
const podOf = (e) => ['namespace', 'name', 'uid', 'node'].map((c) => `${e}p.${c} AS ${e}_${c}`).join(', ');
// As of the row's time. A hash join with a range: an ASOF JOIN, which sorts the rows, takes far longer.
const joined = `
  SELECT f.*, ${ends.map(podOf).join(', ')} FROM (${tuples}) AS f
  LEFT JOIN pods AS srcp ON f.src = srcp.address AND f.time >= srcp."from" AND f.time < srcp."to"
  LEFT JOIN pods AS dstp ON f.dst = dstp.address AND f.time >= dstp."from" AND f.time < dstp."to"`;

(async () => {
  const instance = await DuckDBInstance.create(':memory:', { threads: '2', preserve_insertion_order: 'false', temp_directory: data });
  const db = await instance.connect();
  const run = async (sql) => (await db.runAndReadAll(sql)).getRows();
  const count = async (path) => (await run(`SELECT count(*) FROM read_parquet('${path}')`))[0][0];
  let first, warm;
  const steps = {
    version: async () => (await run('SELECT version()'))[0][0],
    // JSON to Parquet, without the pods.
    raw: async () => {
      await run(`COPY (${tuples}) TO '${out}' (FORMAT parquet, COMPRESSION zstd)`);
      return count(out);
    },
    // JSON to Parquet with the pods of both ends.
    ingest: async () => {
      await run(`CREATE TABLE pods AS SELECT * FROM read_csv('${pods}')`);
      await run(`COPY (${joined}) TO '${out}' (FORMAT parquet, COMPRESSION zstd)`);
      return count(out);
    },
    question: async () => {
      const sql = `SELECT uid, sum(n) FROM (
          SELECT src_uid AS uid, count(*) AS n FROM read_parquet('${out}') WHERE dst = '${needle}' GROUP BY uid
          UNION ALL SELECT dst_uid AS uid, count(*) AS n FROM read_parquet('${out}') WHERE src = '${needle}' GROUP BY uid)
        GROUP BY uid ORDER BY uid`;
      const times = [];
      let rows = 0;
      for (let i = 0; i < 8; i++) {
        const begin = performance.now();
        rows = (await run(sql)).reduce((n, r) => n + Number(r[1]), 0);
        times.push(performance.now() - begin);
      }
      first = times[0];
      warm = times.slice(1).sort((a, b) => a - b)[3];
      return rows;
    },
  };
  const begin = performance.now();
  const rows = await steps[step]();
  console.log(JSON.stringify({ ms: performance.now() - begin, rows: Number(rows) || 0, version: String(rows), first, warm }));
})().catch((e) => { console.error(e); process.exit(1); });
