'use strict'

const native = require('./native')
const { dispatch } = require('./custom')
const { refusal, translated } = require('./error')

/** The promises of this environment; held as long as it lives. */
const promises = native.promises((...told) => dispatch(promises, ...told))

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
