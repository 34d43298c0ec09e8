// One peer of the naive design: it broadcasts its orders by Grenache's map(), and each peer matches
// orders as they arrive. For comparison only: nothing is ordered, signed, encrypted or stored.
// Arguments: a Grape's URL, a free port, the number of this peer. Reads tasks as JSON lines, and
// prints one JSON line for each: {"do": "find", "peers"}, {"do": "burst", "orders", "seed",
// "waiting"}, {"do": "paced", "rate", "seconds", "seed"}, {"do": "report"}.
'use strict'

const readline = require('readline')
const { PeerRPCClient, PeerRPCServer } = require('grenache-nodejs-http')
const Link = require('grenache-nodejs-link')

const SERVICE = 'naive_orders'
const ANNOUNCE_MS = 1000
const WARM_UP = 20
const [grape, port, me] = process.argv.slice(2)

const book = { buy: new Map(), sell: new Map() } // price -> queue, oldest order first
const trades = []

function best (side) {
  const prices = [...book[side].keys()]
  return side === 'buy' ? Math.max(...prices) : Math.min(...prices)
}

function apply (order) {
  const other = order.side === 'buy' ? 'sell' : 'buy'
  const crosses = (price) => order.side === 'buy' ? price <= order.price : price >= order.price
  while (order.quantity > 0 && book[other].size > 0) {
    const price = best(other)
    if (!crosses(price)) break
    const queue = book[other].get(price)
    const maker = queue[0]
    const quantity = Math.min(maker.quantity, order.quantity)
    trades.push([maker.id, order.id, price, quantity])
    maker.quantity -= quantity
    order.quantity -= quantity
    if (maker.quantity === 0) queue.shift()
    if (queue.length === 0) book[other].delete(price)
  }
  if (order.quantity === 0) return
  const queue = book[order.side].get(order.price)
  if (queue) queue.push(order)
  else book[order.side].set(order.price, [order])
}

const link = new Link({ grape })
link.start()
const server = new PeerRPCServer(link, {})
server.init()
const service = server.transport('server')
service.listen(Number(port))
service.on('request', (rid, key, order, handler) => {
  apply(order)
  handler.reply(null, true)
})
const announce = () => link.announce(SERVICE, service.port, {}, () => {})
announce()
setInterval(announce, ANNOUNCE_MS)
const client = new PeerRPCClient(link, {})
client.init()

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const nowMs = () => Number(process.hrtime.bigint()) / 1e6

function random (seed) { // a linear congruential generator; Numerical Recipes' constants
  let state = seed >>> 0
  return (count) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor(state / 4294967296 * count)
  }
}

let made = 0
function order (draw) {
  return {
    id: `${me}-${++made}`,
    side: draw(2) ? 'buy' : 'sell',
    price: 9950 + draw(101),
    quantity: 1 + draw(100)
  }
}

// Resolves once every peer has applied the order, or a request failed; nothing is sent again.
let failed = 0
function broadcast (one) {
  return new Promise((resolve) => {
    client.map(SERVICE, one, { timeout: 10000 }, (error) => {
      if (error) failed++
      resolve()
    })
  })
}

// Looks for so many peers, then sends orders for nothing until connections are open.
async function find (peers) {
  const lookup = () => new Promise((resolve) => {
    const fresh = new Link({ grape }) // a link remembers what it looked up
    fresh.start()
    fresh.lookup(SERVICE, {}, (error, found) => {
      fresh.stop()
      resolve(error ? [] : found)
    })
  })
  let found = await lookup()
  for (const end = nowMs() + 30000; found.length < peers && nowMs() < end; found = await lookup()) await sleep(100)
  for (let n = 0; n < WARM_UP; n++) await broadcast({ id: 'none', side: 'buy', price: 1, quantity: 0 })
  return { found: found.length }
}

async function burst ({ orders, seed, waiting }) {
  const draw = random(seed)
  const began = nowMs()
  let left = orders
  const lane = async () => { while (left-- > 0) await broadcast(order(draw)) }
  await Promise.all(Array.from({ length: waiting }, lane))
  return { seconds: (nowMs() - began) / 1000 }
}

async function paced ({ rate, seconds, seed }) {
  const draw = random(seed)
  const began = nowMs() + 100
  const all = []
  for (let n = 0; n < rate * seconds; n++) {
    const due = began + n * 1000 / rate
    while (nowMs() < due) await sleep(Math.max(due - nowMs(), 0))
    all.push(broadcast(order(draw)).then(() => nowMs() - due))
  }
  return { latencies_ms: await Promise.all(all) }
}

const tasks = { find: ({ peers }) => find(peers), burst, paced, report: async () => ({ trades, failed }) }

async function main () {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const task = JSON.parse(line)
    console.log(JSON.stringify(await tasks[task.do](task)))
  }
  process.exit(0)
}

main()
