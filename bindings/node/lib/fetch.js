'use strict'
// `source.fetch`: the global fetch with the profile's headers. Redirects are followed here, because fetch itself would
// carry every header but Authorization to wherever they lead.

const { types } = require('node:util')
const native = require('./native')
const check = require('./check')
const { begin } = require('./begin')
const { QauthError } = require('./error')

const REDIRECTS = [301, 302, 303, 307, 308]
const MOST_REDIRECTS = 20
/** What fetch itself takes over from a Request; method, headers, body, redirect and signal are handled here. */
const OF_REQUEST = ['cache', 'credentials', 'integrity', 'keepalive', 'mode', 'referrer', 'referrerPolicy']
/** Fetch standard, "request-body-header name"; and the length, which undici counts among them. */
const OF_BODY = ['content-encoding', 'content-language', 'content-location', 'content-type', 'content-length']
/** Not sent to another origin: Authorization by the standard, the others by node's own fetch. */
const OF_ORIGIN = ['authorization', 'proxy-authorization', 'cookie', 'host']

async function fetchWith(source, input, init) {
  const asked = read(source, input, init)
  try {
    return await follow(source, asked)
  } catch (error) {
    // What waited for the token was given up: fetch rejects with the signal's own reason.
    if (error instanceof QauthError && error.code === 'cancelled' && asked.signal?.aborted) throw asked.signal.reason
    throw error
  }
}

/** The call as fetch would read it. */
function read(source, input, init) {
  const request = input instanceof Request ? input : undefined
  const target = request ? request.url : check.url('input', input)
  if (init !== undefined && init !== null && typeof init !== 'object') throw check.expected('init', 'an object', init)
  init = { ...init }
  const ofRequest = Object.fromEntries(request ? OF_REQUEST.map((key) => [key, request[key]]) : [])
  const signal = init.signal === undefined ? request?.signal : init.signal
  const body = init.body ?? undefined
  return {
    // A Request is itself sent first: it may hold a body, and more than can be read from it.
    first: request,
    // fetch sends no fragment, and core refuses one.
    url: new URL(native.sourceResolve(source, ascii(target.replace(/#.*/s, '')))),
    method: method(init.method ?? request?.method ?? 'GET'),
    headers: new Headers(init.headers ?? request?.headers),
    body,
    bodyIsSpent: body === undefined ? request?.body != null : !canBeSentAgain(body),
    redirect: init.redirect ?? request?.redirect ?? 'follow',
    signal: signal == null ? undefined : check.signal('init.signal', signal),
    rest: { ...ofRequest, ...init },
  }
}

/** Whole URLs as fetch writes them, for instance with an international host name in its ASCII form. */
function ascii(target) {
  return !target.startsWith('/') && URL.canParse(target) ? new URL(target).href : target
}

function method(given) {
  const upper = String(given).toUpperCase()
  return ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT'].includes(upper) ? upper : String(given)
}

function canBeSentAgain(body) {
  return (
    typeof body === 'string' ||
    ArrayBuffer.isView(body) ||
    types.isAnyArrayBuffer(body) ||
    body instanceof URLSearchParams ||
    body instanceof Blob ||
    body instanceof FormData
  )
}

async function follow(source, { first, url, method, headers, body, bodyIsSpent, redirect, signal, rest }) {
  let redirects = 0
  /** The reasons for which the request was sent once more. */
  const again = new Set()
  let written = []
  for (;;) {
    const sent = new Headers(headers)
    let generation
    if (redirects === 0 || native.sourceAllows(source, url.href)) {
      const attached = await begin(signal, native.sourceHeaders, source, method, url.href)
      written = attached.pairs.map(([name]) => name)
      attached.pairs.forEach(([name, value]) => sent.set(name, value))
      generation = attached.generation
    } else {
      written.forEach((name) => sent.delete(name))
    }
    const response = await fetch((redirects === 0 && first) || url, {
      ...rest,
      method,
      headers: sent,
      body,
      signal,
      redirect: redirect === 'follow' ? 'manual' : redirect,
    })

    if (generation !== undefined) {
      const { status, headers: told } = response
      const challenge = told.get('www-authenticate') ?? undefined
      const nonce = told.get('dpop-nonce') ?? undefined
      const reason = native.sourceAnswered(source, url.href, generation, status, challenge, nonce)
      if (reason !== null && !again.has(reason) && !bodyIsSpent) {
        again.add(reason)
        await response.body?.cancel()
        continue
      }
    }

    const location = response.headers.get('location')
    if (redirect !== 'follow' || !REDIRECTS.includes(response.status) || location === null) {
      return redirects === 0 ? response : Object.defineProperty(response, 'redirected', { value: true })
    }
    await response.body?.cancel()
    const next = locationUrl(location, url)
    redirects += 1
    if (redirects > MOST_REDIRECTS) throw failed('redirect count exceeded')
    if (response.status !== 303 && bodyIsSpent) throw failed('a body that is read only once cannot follow a redirect')
    const becomesGet =
      response.status === 303 ? method !== 'GET' && method !== 'HEAD' : response.status < 303 && method === 'POST'
    if (becomesGet) {
      method = 'GET'
      body = undefined
      bodyIsSpent = false
      OF_BODY.forEach((name) => headers.delete(name))
    }
    if (next.origin !== url.origin) {
      OF_ORIGIN.forEach((name) => headers.delete(name))
      // Each server has nonces of its own.
      again.delete('nonce')
    }
    url = next
  }
}

/** Fetch standard, "location URL". */
function locationUrl(location, url) {
  // Header values come as Latin-1; browsers read this one as UTF-8.
  const text = Buffer.from(location, 'latin1').toString()
  if (!URL.canParse(text, url)) throw failed('the redirect has no valid URL')
  const next = new URL(text, url)
  if (next.protocol !== 'https:' && next.protocol !== 'http:') throw failed('URL scheme must be a HTTP(S) scheme')
  if (next.username || next.password) throw failed('the redirect holds credentials')
  next.hash = ''
  return next
}

/** As fetch tells its network errors. */
function failed(why) {
  return new TypeError('fetch failed', { cause: new Error(why) })
}

module.exports = { fetchWith }
