'use strict'

const native = require('./native')
const check = require('./check')
const custom = require('./custom')
const { promises } = require('./begin')
const { invalid, translated } = require('./error')
const { Emitter } = require('./events')
const { KEY, describe, uncloneable } = require('./shared')
const { TokenSource } = require('./source')

const UNCLONEABLE = uncloneable(
  'Engine',
  'call qauth.source(name) or Engine.shared() there: all threads share that engine',
)

let shared

class Engine extends Emitter {
  #handle

  constructor(config, handle) {
    super((number) => native.engineListen(promises, this.#handle, number))
    if (new.target !== Engine) throw invalid('Engine: cannot be extended; hold one instead')
    if (config === undefined) this.#handle = native.engineNew()
    else if (config === KEY) this.#handle = handle
    else this.#handle = native.engineFromJson(check.json('config', config))
    Object.defineProperty(this, 'uncloneable', UNCLONEABLE)
  }

  static discover() {
    return new Engine(KEY, native.engineDiscover())
  }

  static fromFile(path) {
    return new Engine(KEY, native.engineFromFile(check.text('path', path)))
  }

  static fromToml(text) {
    return new Engine(KEY, native.engineFromToml(check.text('text', text)))
  }

  static fromJson(text) {
    return new Engine(KEY, native.engineFromJson(check.text('text', text)))
  }

  static shared() {
    return (shared ??= new Engine(KEY, native.engineShared()))
  }

  source(name, options = {}) {
    const args = [check.text('name', name), check.json('options', options)]
    return new TokenSource(KEY, native.engineSource(this.#handle, ...args), this)
  }

  customSource(name, fn, options = {}) {
    if (typeof fn !== 'function') throw check.expected('fn', 'a function', fn)
    const args = [this === shared, check.text('name', name), check.json('options', options), custom.keep(fn, this)]
    return new TokenSource(KEY, native.engineCustomSource(promises, this.#handle, ...args), this)
  }

  remove(name) {
    return native.engineRemove(this.#handle, check.text('name', name))
  }

  profiles() {
    return native.engineProfiles(this.#handle)
  }

  metrics() {
    return JSON.parse(native.engineMetrics(this.#handle))
  }

  prometheus() {
    return native.enginePrometheus(this.#handle)
  }

  async records() {
    return JSON.parse(await settled(native.engineRecords(this.#handle)))
  }

  async clear(name) {
    return await settled(native.engineClear(this.#handle, check.text('name', name)))
  }

  async advance(seconds) {
    await settled(native.engineAdvance(this.#handle, check.number('seconds', seconds)))
  }

  async suspend(seconds) {
    await settled(native.engineSuspend(this.#handle, check.number('seconds', seconds)))
  }

  stepWallClock(seconds) {
    native.engineStepWallClock(this.#handle, check.number('seconds', seconds))
  }

  async close() {
    await settled(native.engineClose(this.#handle))
    custom.forget(this)
  }

  // Symbol.asyncDispose came with node 20.4.
  async [Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]() {
    await this.close()
  }
}
describe(Engine, (engine) => ({ profiles: engine.profiles() }))

async function settled(promise) {
  try {
    return await promise
  } catch (thrown) {
    throw translated(thrown)
  }
}

module.exports = { Engine }
