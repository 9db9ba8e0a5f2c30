// What is installed: the packages, both ways of loading them, their types.
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { app, qauth, requireFromApp, root, runNode } from './support.mjs'

const installed = join(app, 'node_modules/qauth')
const platform = `qauth-${process.platform}-${process.arch}-gnu`
const manifest = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))

test('every version is that of the workspace', () => {
  const version = /^version = "(.*)"/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'))[1]
  assert.equal(qauth.version, version)
  for (const folder of [join(root, 'bindings/node'), installed]) {
    const { optionalDependencies, ...main } = manifest(folder)
    assert.equal(main.version, version)
    assert.deepEqual(optionalDependencies, { 'qauth-linux-arm64-gnu': version, 'qauth-linux-x64-gnu': version })
  }
  const native = manifest(join(app, 'node_modules', platform))
  assert.equal(native.version, version)
  assert.deepEqual([native.os, native.cpu, native.libc], [['linux'], [process.arch], ['glibc']])
})

test('the packages hold what is needed, and no script', () => {
  const files = readdirSync(installed, { recursive: true }).sort()
  const expected = [
    'LICENSE-APACHE',
    'LICENSE-MIT',
    'README.md',
    'bin',
    'bin/qauth.js',
    'index.d.mts',
    'index.d.ts',
    'index.js',
    'index.mjs',
    'lib',
    'package.json',
    'providers',
  ]
  assert.deepEqual(
    files.filter((file) => !/^(lib|providers)\//.test(file)),
    expected,
  )
  const examples = files.filter((file) => file.startsWith('providers/'))
  assert.equal(examples.length, 20)
  for (const file of examples) assert.match(file, /^providers\/[a-z0-9-]+\.toml$/)
  assert.deepEqual(readdirSync(join(app, 'node_modules', platform)).sort(), [
    'LICENSE-APACHE',
    'LICENSE-MIT',
    'package.json',
    'qauth.node',
  ])
  for (const folder of [installed, join(app, 'node_modules', platform)]) {
    const { scripts, dependencies } = manifest(folder)
    assert.deepEqual([scripts, dependencies], [undefined, undefined])
  }
})

test('require and import give the same objects', async () => {
  const imported = await import(new URL('index.mjs', `file://${requireFromApp.resolve('qauth')}`))
  assert.deepEqual({ ...imported }, { ...qauth })
  for (const name of Object.keys(qauth)) assert.equal(imported[name], qauth[name])
  assert.equal(imported.Engine.shared(), qauth.Engine.shared())
})

test('import chooses the module, require the script', async () => {
  const esm = await runNode([
    '--input-type=module',
    '-e',
    `
    import * as all from 'qauth'
    import { createRequire } from 'node:module'
    const { Engine, TokenSource, Token, Response, QauthError, source, customSource, version } = all
    const required = createRequire(process.cwd() + '/')('qauth')
    console.log(import.meta.resolve('qauth').split('/').at(-1), Engine === required.Engine, Object.keys(all).length)
  `,
  ])
  assert.deepEqual([esm.status, esm.stdout], [0, 'index.mjs true 8\n'])
  const cjs = await runNode([
    '-e',
    `console.log(require.resolve('qauth').split('/').at(-1), require('qauth/package.json').name)`,
  ])
  assert.equal(cjs.stdout, 'index.js qauth\n')
  const inner = await runNode(['-e', `require('qauth/lib/shared.js')`])
  assert.match(inner.stderr, /ERR_PACKAGE_PATH_NOT_EXPORTED/)
})

test('loading starts nothing: no thread, no file, no handle', async () => {
  const { stdout } = await runNode([
    '-e',
    `
    const tasks = () => require('fs').readdirSync('/proc/self/task').length
    const before = tasks()
    const qauth = require('qauth')
    qauth.source('quiqup', { client_id: 'a', client_secret: 'b' })
    console.log(tasks() - before, process.getActiveResourcesInfo().length)
  `,
  ])
  assert.equal(stdout, '0 0\n')
})

test('a missing platform package is one clear error', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'qauth-'))
  t.after(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'node_modules'))
  cpSync(installed, join(folder, 'node_modules/qauth'), { recursive: true })
  for (const args of [
    ['-e', `require('qauth')`],
    ['--input-type=module', '-e', `import 'qauth'`],
  ]) {
    const { status, stderr } = await runNode(args, { cwd: folder })
    assert.equal(status, 1)
    const [line] = stderr.match(/Error: .*/)
    assert.ok(line.includes(`the package ${platform} is missing`) && line.includes(`npm install ${platform}`), line)
  }
})

test('installs into an empty project from the tarballs alone', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'qauth-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'package.json'), '{}')
  const packages = process.env.QAUTH_NODE_PACKAGES
  const tarballs = readdirSync(packages).filter((file) => file.endsWith('.tgz'))
  const files = tarballs.map((file) => join(packages, file))
  execFileSync('npm', ['install', '--silent', '--ignore-scripts', ...files], { cwd: folder })
  const { stdout } = await runNode(['-p', `require('qauth').version`], { cwd: folder })
  assert.equal(stdout.trim(), qauth.version)
})

test('the types know every code of core', () => {
  const core = readFileSync(join(root, 'core/src/error.rs'), 'utf8').matchAll(/^    \w+ = \d+, "(\w+)", exit/gm)
  const [union] = /ErrorCode =\n(.*?)\n\n/s.exec(readFileSync(join(installed, 'index.d.ts'), 'utf8')).slice(1)
  assert.deepEqual(
    [...union.matchAll(/'(\w+)'/g)].map(([, word]) => word),
    Array.from(core, ([, word]) => word),
  )
})

test('the types know every kind of event', () => {
  const core = readFileSync(join(root, 'core/src/events.rs'), 'utf8').matchAll(/^    \w+ = \d+, "(\w+)", \w+;/gm)
  const [union] = /EventKind =\n(.*?)\n\n/s.exec(readFileSync(join(installed, 'index.d.ts'), 'utf8')).slice(1)
  const words = [...union.matchAll(/'(\w+)'/g)].map(([, word]) => word)
  assert.ok(words.length > 0)
  assert.deepEqual(
    words,
    Array.from(core, ([, word]) => word),
  )
})

test('the types hold for require and for import', async () => {
  const types = join(app, 'types')
  rmSync(types, { recursive: true, force: true })
  cpSync(join(import.meta.dirname, 'types'), types, { recursive: true })
  const tsc = [requireFromApp.resolve('typescript/package.json').replace('package.json', 'bin/tsc'), '-p', types]
  await promisify(execFile)(process.execPath, tsc).catch((error) => assert.fail(error.stdout || error.message))
})
