// A token of every vendor, and a call of the vendor's API with it: what a Node program does with qauth.
//
//     npm install qauth && QAUTH_CONFIG=qauth.toml node demo.mjs
//
// Prints a line per vendor: its name, how many seconds the token lives, the status of the API call.
import { Engine } from 'qauth'

const vendors = {
  quantaprice: '/prices?sku=PRODUCT-001',
  quiqup: '/orders',
  quable: '/api/products',
  quartile: '/reports',
  qpay: '/cards',
}

const engine = Engine.discover()
for (const [vendor, path] of Object.entries(vendors)) {
  const source = engine.source(vendor)
  const { expiresIn } = await source.token()
  const response = await source.fetch(path)
  console.log(vendor, Math.round(expiresIn), response.status)
}
