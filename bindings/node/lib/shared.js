'use strict'
// What the classes have in common.

const { inspect } = require('node:util')
const { invalid } = require('./error')

/** Known to this package alone: whoever has it may make a Token, a TokenSource or a Response. */
const KEY = Symbol('qauth')

/** Refuses what users cannot make or extend. */
function guard(key, made, Class, advice) {
  if (key !== KEY || made !== Class) throw invalid(`${Class.name}: cannot be constructed; ${advice}`)
}

/**
 * A property that throws when it is read. The structured clone (postMessage, structuredClone) reads own properties and
 * would make an empty object of such a value without a word.
 */
function uncloneable(name, advice) {
  return {
    enumerable: true,
    get() {
      throw invalid(`${name}: cannot be cloned or sent to another thread; ${advice}`)
    },
  }
}

/** What people and JSON see: `summary()` and nothing else. */
function describe(Class, summary) {
  const hidden = (value) => ({ value, writable: true, configurable: true })
  Object.defineProperties(Class.prototype, {
    toJSON: hidden(function toJSON() {
      return summary(this)
    }),
    [inspect.custom]: hidden(function (depth, options, show = inspect) {
      return `${Class.name} ${show(summary(this), options)}`
    }),
    [Symbol.toStringTag]: hidden(Class.name),
  })
}

module.exports = { KEY, describe, guard, uncloneable }
