'use strict'

const native = require('./native')
const custom = require('./custom')
const { refusal, translated } = require('./error')
const { hear } = require('./events')

/** The promises of this environment; held as long as it lives. */
const promises = native.promises((word, ...told) => WORDS[word](...told))

/** What the native side tells beside results. */
const WORDS = { call: (...asked) => custom.answer(promises, ...asked), forget: custom.drop, event: hear }

const cancelled = (signal) => refusal('cancelled', 'the caller gave the call up', { cause: signal.reason })

/** A call that answers later; `signal` gives it up. */
async function begin(signal, begun, ...args) {
  if (signal?.aborted) throw cancelled(signal)
  const [promise, pending] = begun(promises, ...args)
  const giveUp = () => pending && native.cancel(pending)
  signal?.addEventListener('abort', giveUp)
  try {
    return await promise
  } catch (thrown) {
    throw translated(thrown, signal?.aborted ? { cause: signal.reason } : undefined)
  } finally {
    signal?.removeEventListener('abort', giveUp)
  }
}

module.exports = { begin, promises }
