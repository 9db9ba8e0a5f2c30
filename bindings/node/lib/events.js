'use strict'
// Engines as emitters of events. Core is asked for them while somebody listens, and no longer.

const { EventEmitter } = require('node:events')
const native = require('./native')
const { QauthError } = require('./error')

/** All that is emitted: each kind by its word, and every event as `event`. */
const NAMES = ['event', ...native.eventKinds()]

/** Those that are listened to, by number. Held weakly: what nobody else holds has nothing to tell. */
const emitters = new Map()
const gone = new FinalizationRegistry((number) => emitters.delete(number))
let last = 0

class Emitter extends EventEmitter {
  #listen
  #listening
  #number

  /** `listen(number)` begins a subscription whose events are told to `hear`. */
  constructor(listen) {
    super()
    this.#listen = listen
    // What node keeps in here is nobody's business: not of the structured clone either.
    for (const name of Object.keys(this)) Object.defineProperty(this, name, { enumerable: false })
  }

  // The other ways of adding and removing lead to these.

  on(name, listener) {
    super.on(name, listener)
    return this.#changed()
  }

  addListener(name, listener) {
    return this.on(name, listener)
  }

  prependListener(name, listener) {
    super.prependListener(name, listener)
    return this.#changed()
  }

  removeListener(name, listener) {
    super.removeListener(name, listener)
    return this.#changed()
  }

  off(name, listener) {
    return this.removeListener(name, listener)
  }

  removeAllListeners(...names) {
    super.removeAllListeners(...names)
    return this.#changed()
  }

  #changed() {
    const wanted = NAMES.some((name) => this.listenerCount(name) > 0)
    if (wanted && this.#listening === undefined) {
      this.#number = ++last
      emitters.set(this.#number, new WeakRef(this))
      gone.register(this, this.#number, this)
      this.#listening = this.#listen(this.#number)
    } else if (!wanted && this.#listening !== undefined) {
      native.engineUnlisten(this.#listening)
      this.#listening = undefined
      gone.unregister(this)
      emitters.delete(this.#number)
    }
    return this
  }
}

/** From the native side: an event for the emitter of this number. */
function hear(number, text) {
  const emitter = emitters.get(number)?.deref()
  if (emitter === undefined) return
  const { at, generation, error, ...told } = JSON.parse(text)
  const event = {
    ...told,
    at: new Date(at),
    generation: generation ?? undefined,
    error: error === null ? undefined : new QauthError(error),
  }
  for (const name of [event.kind, 'event']) {
    try {
      emitter.emit(name, event)
    } catch (thrown) {
      // An uncaught exception, as of any callback; what waits behind it goes on.
      process.nextTick(() => {
        throw thrown
      })
    }
  }
}

module.exports = { Emitter, hear }
