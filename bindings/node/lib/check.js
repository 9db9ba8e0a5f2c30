'use strict'
// Arguments: what JavaScript lets through and core could not name. A message tells the argument and what is expected,
// never the value.

const { types } = require('node:util')
const { invalid } = require('./error')

/** Deeper than any configuration, and less than JSON readers take. */
const DEEPEST = 64

function kind(value) {
  if (value === null || value === undefined) return String(value)
  if (typeof value !== 'object') return `a ${typeof value}`
  if (Array.isArray(value)) return 'an array'
  return isPlain(value) ? 'an object' : 'an object of a class'
}

function expected(name, what, value) {
  return invalid(`${name}: expected ${what}, got ${kind(value)}`)
}

/** An object literal, of this realm or another one. */
function isPlain(value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || types.isProxy(value)) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function text(name, value) {
  if (typeof value !== 'string') throw expected(name, 'a string', value)
  if (!value.isWellFormed()) throw invalid(`${name}: holds half of a surrogate pair, which is no text`)
  return value
}

/** The range is for core to judge. */
function number(name, value) {
  if (typeof value !== 'number') throw expected(name, 'a number', value)
  return value
}

function url(name, value) {
  if (value instanceof URL) return value.href
  if (typeof value !== 'string') throw expected(name, 'a path, a URL as a string, or a URL', value)
  return text(name, value)
}

function signal(name, value) {
  const is = typeof value === 'object' && value !== null && typeof value.aborted === 'boolean'
  if (!is || typeof value.addEventListener !== 'function') throw expected(name, 'an AbortSignal', value)
  return value
}

/** Bytes to send: a text in UTF-8, or a view of the caller's memory. */
function body(name, value) {
  if (typeof value === 'string') return Buffer.from(text(name, value))
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (types.isAnyArrayBuffer(value)) return Buffer.from(value)
  throw expected(name, 'a string, Buffer, typed array or ArrayBuffer (JSON.stringify an object first)', value)
}

function query(name, value) {
  if (value instanceof URLSearchParams) return [...value]
  if (!isPlain(value)) throw expected(name, 'an object or URLSearchParams', value)
  return Object.entries(value).flatMap(([key, given]) => {
    const one = (value) => {
      if (typeof value === 'boolean' || Number.isFinite(value)) return [key, String(value)]
      if (typeof value !== 'string')
        throw expected(`${name}.${key}`, 'a string, finite number, boolean, or an array of them', value)
      return [key, text(`${name}.${key}`, value)]
    }
    return given === undefined ? [] : Array.isArray(given) ? given.map(one) : [one(given)]
  })
}

function headers(name, value) {
  if (value instanceof Headers) return [...value]
  if (!isPlain(value)) throw expected(name, 'an object or Headers', value)
  return Object.entries(value)
    .filter(([, given]) => given !== undefined)
    .map(([key, given]) => [text(name, key), text(`${name}.${key}`, given)])
}

/** An object of options, each checked by its function; `undefined` is the same as not given. */
function options(name, value, checks) {
  if (value === undefined) return {}
  if (!isPlain(value)) throw expected(name, 'an object', value)
  const checked = {}
  for (const [key, given] of Object.entries(value)) {
    if (!Object.hasOwn(checks, key)) {
      throw invalid(`${name}.${key}: is unknown; expected ${Object.keys(checks).join(', ')}`)
    }
    if (given !== undefined) checked[key] = checks[key](`${name}.${key}`, given)
  }
  return checked
}

/** The JSON of an object whose members JSON can hold; members that are undefined are left out. */
function json(name, value) {
  if (!isPlain(value)) throw expected(name, 'an object', value)
  return JSON.stringify(clean(name, value, []))
}

function clean(path, value, above) {
  if (typeof value === 'string') return text(path, value)
  if (value === null || typeof value === 'boolean') return value
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw invalid(`${path}: expected a finite number`)
    return value
  }
  if (!Array.isArray(value) && !isPlain(value)) {
    throw expected(path, 'a string, number, boolean, array or plain object', value)
  }
  if (above.includes(value)) throw invalid(`${path}: holds itself`)
  if (above.length === DEEPEST) throw invalid(`${path}: is nested more than ${DEEPEST} levels deep`)
  const here = [...above, value]
  // Array.from: a hole is undefined, and refused as such.
  if (Array.isArray(value)) return Array.from(value, (item, index) => clean(`${path}[${index}]`, item, here))
  const copy = Object.create(null)
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) copy[text(path, key)] = clean(`${path}.${key}`, item, here)
  }
  return copy
}

const TIMED = { timeoutMs: number, signal }
const TOKEN = { ...TIMED, minRemainingMs: number }
const CALL = { ...TOKEN, saveAs: text }
const REQUEST = { ...TIMED, query, headers, body: (name, value) => (value === null ? undefined : body(name, value)) }
const NARROWING = { scope: text, audience: text, resource: text }

module.exports = { expected, isPlain, json, kind, number, options, signal, text, url, CALL, NARROWING, REQUEST, TOKEN }
