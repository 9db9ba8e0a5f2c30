// The command line that the package carries.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { app, qauth, startSim } from './support.mjs'

const sim = await startSim()
const config = join(mkdtempSync(join(tmpdir(), 'qauth-')), 'qauth.json')
writeFileSync(config, JSON.stringify(sim.config()))
const env = { ...process.env, QAUTH_CONFIG: config }

function npx(...args) {
  return new Promise((resolve) => {
    execFile('npx', ['--no-install', 'qauth', ...args], { cwd: app, env }, (error, stdout, stderr) =>
      resolve({ status: error ? error.code : 0, stdout, stderr: stderr.replace(/^npm warn .*\n/gm, '') }),
    )
  })
}

test('npx qauth: results, and errors with their exit status', async () => {
  assert.deepEqual(await npx('--version'), { status: 0, stdout: `qauth ${qauth.version}\n`, stderr: '' })
  const { status, stdout } = await npx('token', 'quiqup', '--json')
  assert.equal(status, 0)
  assert.ok(JSON.parse(stdout).expires_in > 0)
  const unknown = await npx('token', 'unknown')
  assert.equal(unknown.status, 3)
  assert.equal(unknown.stdout, '')
  assert.match(unknown.stderr, /config/)
  assert.equal((await npx('no-command')).status, 2)
})

/** The program itself, without npx between. */
const start = (args, stdio) => spawn(process.execPath, [join(app, 'node_modules/.bin/qauth'), ...args], { env, stdio })

test('Ctrl-C ends a command that waits', async () => {
  const child = start(['sim'], ['ignore', 'pipe', 'inherit'])
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const url = line.split(' ').at(-1)
  assert.equal((await fetch(`${url}/_sim/state`)).status, 200)
  child.kill('SIGINT')
  assert.deepEqual(await once(child, 'exit'), [null, 'SIGINT'])
})

test('Ctrl-C ends npx qauth sim, and the simulator with it', async () => {
  const child = spawn('npx', ['--no-install', 'qauth', 'sim'], {
    cwd: app,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  })
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const url = line.split(' ').at(-1)
  // As a terminal does: to the whole group.
  process.kill(-child.pid, 'SIGINT')
  await once(child, 'exit')
  await assert.rejects(fetch(`${url}/_sim/state`))
})

test('a reader that has gone away is no error', async () => {
  const child = start(['request', 'quiqup', 'GET', '/large?bytes=1000000'], ['ignore', 'pipe', 'pipe'])
  let said = ''
  child.stderr.on('data', (data) => (said += data))
  await once(child.stdout, 'readable')
  child.stdout.destroy()
  assert.deepEqual(await once(child, 'close'), [0, null])
  assert.equal(said, '')
})

test('its input is read', async () => {
  const child = start(['request', 'quiqup', 'POST', '/echo', '--data', '-'], ['pipe', 'pipe', 'inherit'])
  child.stdin.end('from stdin')
  let stdout = ''
  child.stdout.on('data', (data) => (stdout += data))
  assert.deepEqual(await once(child, 'close'), [0, null])
  assert.match(stdout, /from stdin/)
})
