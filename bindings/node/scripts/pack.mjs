// The npm packages: node pack.mjs LIBRARY FOLDER writes two tarballs there, `qauth` and that of this machine's platform.
import { execFileSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const [library, folder] = process.argv.slice(2)
if (folder === undefined) {
  console.error('usage: node pack.mjs LIBRARY FOLDER')
  process.exit(2)
}
const here = resolve(import.meta.dirname, '..')
const workspace = resolve(here, '../..')
const version = /^version = "(.*)"/m.exec(readFileSync(join(workspace, 'Cargo.toml'), 'utf8'))[1]
// The whole staged folder is packed; npm's `files` would leave the licences out.
const { files, ...main } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'))
const { license } = main
const versions = [main.version, ...Object.values(main.optionalDependencies)]
if (versions.some((other) => other !== version))
  throw new Error(`package.json: the version is ${version} in Cargo.toml`)

const platform = `${process.platform}-${process.arch}-gnu`
const licences = ['LICENSE-APACHE', 'LICENSE-MIT']
const out = resolve(folder)
mkdirSync(out, { recursive: true })
const stage = mkdtempSync(join(tmpdir(), 'qauth-pack-'))
try {
  pack('qauth', main, [...files, 'README.md'], examples)
  const native = {
    name: `qauth-${platform}`,
    version,
    description: `The native module of qauth for ${platform}`,
    license,
    main: 'qauth.node',
    os: [process.platform],
    cpu: [process.arch],
    libc: ['glibc'],
    engines: main.engines,
  }
  pack(native.name, native, [], (to) => copyFileSync(library, join(to, 'qauth.node')))
} finally {
  rmSync(stage, { recursive: true })
}

/** Provider files of well-known APIs, beside the package's own. */
function examples(to) {
  const from = join(workspace, 'core/providers/contrib')
  mkdirSync(join(to, 'providers'))
  for (const file of readdirSync(from).filter((name) => /^[^.]+\.toml$/.test(name)))
    copyFileSync(join(from, file), join(to, 'providers', file))
}

function pack(name, manifest, files, also = () => {}) {
  const to = join(stage, name)
  mkdirSync(to)
  writeFileSync(join(to, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  for (const file of files) cpSync(join(here, file), join(to, file), { recursive: true })
  for (const file of licences) copyFileSync(join(workspace, file), join(to, file))
  also(to)
  const options = ['--silent', '--ignore-scripts', '--pack-destination', out]
  const made = execFileSync('npm', ['pack', ...options], {
    cwd: to,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  console.log(join(folder, made.trim()))
}
