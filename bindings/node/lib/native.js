'use strict'
// The native module: beside the sources while developing, else in the package of this platform. What its functions throw
// is a QauthError.

const { existsSync } = require('node:fs')
const { join } = require('node:path')
const { translated } = require('./error')

const platform = `${process.platform}-${process.arch}${process.platform === 'linux' ? '-gnu' : ''}`

function load() {
  const beside = join(__dirname, '..', `qauth.${platform}.node`)
  if (existsSync(beside)) return require(beside)
  const name = `qauth-${platform}`
  try {
    return require(name)
  } catch (cause) {
    if (cause.code !== 'MODULE_NOT_FOUND') throw cause
    throw new Error(
      `qauth: the package ${name} is missing; it holds the native module for this platform. Install it beside qauth, ` +
        `at the same version (npm install ${name}); npm leaves it out with --omit=optional, and where qauth has none ` +
        'for a platform',
      { cause },
    )
  }
}

function translating(native) {
  return (...args) => {
    try {
      return native(...args)
    } catch (thrown) {
      throw translated(thrown)
    }
  }
}

for (const [name, native] of Object.entries(load())) exports[name] = translating(native)
