'use strict'
// The token functions of this environment: called when core asks, their results and errors told in core's words.

const native = require('./native')
const check = require('./check')
const { QauthError, refusal } = require('./error')
const { isToken } = require('./token')

/** By number: each function that core may ask for, its engine, and what it threw last. */
const functions = new Map()
let last = 0

function keep(give, engine) {
  functions.set(++last, { give, engine: new WeakRef(engine), failure: null })
  return last
}

/** A closed engine asks for nothing more. A function may hold its engine, so that nothing else would tell its end. */
function forget(engine) {
  for (const [number, kept] of functions) if (kept.engine.deref() === engine) functions.delete(number)
}

/** From the native side: nobody can ask for this function any more. */
function drop(number) {
  functions.delete(number)
}

/** From the native side: a call of a function. */
async function answer(promises, number, call, profile, scope, audience, resource) {
  const kept = functions.get(number)
  const request = { profile, scope, audience, resource }
  try {
    if (kept === undefined) throw refusal('closed', 'the engine was closed')
    const { give } = kept
    const token = read(await give(request))
    kept.failure = null
    native.callGiven(promises, call, token)
  } catch (thrown) {
    try {
      if (thrown instanceof Nonsense) native.callRefused(promises, call, thrown.message)
      else failed(promises, kept, call, request, thrown)
    } catch {
      // What is thrown may be a proxy that throws in turn.
      native.callFailed(promises, call, 'an object')
    }
  }
}

/** A foreign message may hold a secret: only the class is told. */
function failed(promises, kept, call, { profile }, thrown) {
  const name = className(thrown)
  const { code, retryAfterMs } = thrown instanceof QauthError ? thrown : {}
  const after = Number.isFinite(retryAfterMs) ? retryAfterMs : undefined
  if (kept !== undefined) kept.failure = { thrown, profile, text: `the token function failed: ${name}` }
  native.callFailed(promises, call, name, typeof code === 'string' ? code : undefined, after)
}

/** What a function gave is no token. */
class Nonsense extends Error {}

/** What a function may give, as the native side takes it. */
function read(given) {
  if (typeof given === 'string') given = { accessToken: given }
  if (isToken(given)) {
    const { accessToken, expiresIn, tokenType, scope, extras } = given
    given = { ...extras, accessToken, expiresIn, tokenType, scope }
  }
  if (!check.isPlain(given)) {
    throw new Nonsense(`expected a string, or an object with accessToken, got ${check.kind(given)}`)
  }
  const { accessToken, expiresIn, tokenType, scope, ...extras } = given
  const optional = (checked, name, value) => (value === undefined || value === null ? undefined : checked(name, value))
  try {
    return {
      accessToken: check.text('accessToken', accessToken),
      expiresIn: optional(check.number, 'expiresIn', expiresIn),
      tokenType: optional(check.text, 'tokenType', tokenType),
      scope: optional(check.text, 'scope', scope),
      extras: check.json('extras', extras),
    }
  } catch (error) {
    throw error instanceof QauthError ? new Nonsense(error.message.replace(/^invalid_argument: /, '')) : error
  }
}

function className(thrown) {
  if (typeof thrown !== 'object' || thrown === null) return check.kind(thrown)
  try {
    const { name } = thrown.constructor
    if (typeof name === 'string' && /^[\w$]{1,64}$/.test(name)) return name
  } catch {}
  return 'an object'
}

/** As Error itself defines its cause. */
const HIDDEN = { writable: true, configurable: true, enumerable: false }

/** An error of this engine, with what a function threw as its cause, where it is surely that. */
function withCause(error, engine) {
  if (!(error instanceof QauthError) || error.cause !== undefined) return error
  const causes = [...functions.values()].filter(
    ({ failure, engine: its }) =>
      failure?.profile === error.profile && error.message.endsWith(failure.text) && its.deref() === engine,
  )
  if (causes.length === 1) Object.defineProperty(error, 'cause', { value: causes[0].failure.thrown, ...HIDDEN })
  return error
}

module.exports = { answer, drop, forget, keep, withCause }
