/**
 * Random scenarios: nested trees of every strategy, restart type, shutdown and start outcome, and every operation.
 *
 * What is left out is what has no defined trace: in a batch, the crash of a worker of another supervisor than the suspended
 * one (it is a race); a worker that hangs in `terminate` under an infinite shutdown (OTP waits for
 * ever), delays near the time after which the oracle calls a process leaked, and a start that says `ignore` during a restart
 * under simple_one_for_one, where OTP 25 has a bug.
 */

type Term = { [key: string]: unknown }

/** A small, seedable generator of random numbers (mulberry32). */
export class Random {
  private state: number
  constructor(seed: number) {
    this.state = seed >>> 0
  }
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }
  chance(probability: number): boolean {
    return this.next() < probability
  }
  pick<A>(from: ReadonlyArray<A>): A {
    return from[Math.floor(this.next() * from.length)] as A
  }
  weighted<A>(from: ReadonlyArray<readonly [weight: number, value: A]>): A {
    let at = this.next() * from.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, value] of from) {
      at -= weight
      if (at < 0) return value
    }
    return (from.at(-1) as readonly [number, A])[1]
  }
}

const ids = ["a", "b", "c", "d", "e"]

class Generator {
  private readonly random: Random
  /** Paths that exist, or once did, or never will. */
  private readonly workers: Array<string> = []
  private readonly sups: Array<{
    readonly path: string
    readonly ids: Array<string>
    readonly simple: boolean
    started: number
  }> = []

  constructor(random: Random) {
    this.random = random
  }

  scenario(id: unknown): Term {
    const root = this.random.chance(0.04) ? this.significantRoot() : this.sup("", 0)
    const steps = Array.from({ length: this.random.int(1, 9) }, () => this.step())
    return { id, root, steps }
  }

  private reason(): unknown {
    return this.random.weighted<unknown>([
      [3, "boom"],
      [3, "normal"],
      [3, "shutdown"],
      [2, ["shutdown", "x"]],
      [3, "kill"],
      [1, "killed"],
      [1, "noproc"],
      [1, ["normal", "y"]],
      [1, 7],
      [1, ["shutdown", "x", "y"]],
      [1, { list: ["l", 1] }]
    ])
  }

  private sup(path: string, depth: number): Term {
    const { random } = this
    const strategy = random.weighted([
      [3, "one_for_one"],
      [3, "one_for_all"],
      [3, "rest_for_one"],
      [2, "simple_one_for_one"]
    ])
    const auto = random.weighted([
      [5, "never"],
      [2, "any_significant"],
      [2, "all_significant"]
    ])
    const simple = strategy === "simple_one_for_one"
    const entry = { path, ids: [] as Array<string>, simple, started: 0 }
    this.sups.push(entry)
    const children = simple
      ? [this.child("t", path, depth, auto, true)]
      : ids.slice(0, random.int(0, depth === 0 ? 5 : 3)).map((id) => {
          entry.ids.push(id)
          return this.child(id, path, depth, auto, false)
        })
    if (random.chance(0.01) && children[0] !== undefined) children.push(children[0])
    if (random.chance(0.01)) return { init: "ignore", children }
    return {
      ...(random.chance(0.9) ? { strategy } : simple ? { strategy } : {}),
      ...(random.chance(0.85)
        ? {
            intensity: random.weighted(
              [
                [1, 0],
                [3, 1],
                [3, 2],
                [4, 5],
                [1, -1]
              ].map(([w, v], i) => [i === 4 ? 0.05 : (w as number), v] as const)
            )
          }
        : {}),
      ...(random.chance(0.3)
        ? {
            period: random.weighted([
              [3, 1],
              [3, 5],
              [3, 10],
              [0.1, 0]
            ] as const)
          }
        : {}),
      ...(auto !== "never" || random.chance(0.1) ? { auto_shutdown: random.chance(0.01) ? "sometimes" : auto } : {}),
      ...(random.chance(0.005) ? { strategy: "none_for_one" } : {}),
      children
    }
  }

  /** Few children, all of whom matter, and whose restarts fail: what still counts as alive decides whether the tree goes on. */
  private significantRoot(): Term {
    const { random } = this
    const entry = { path: "", ids: ids.slice(0, random.int(2, 3)), simple: false, started: 0 }
    this.sups.push(entry)
    const children = entry.ids.map((id) => {
      this.workers.push(id)
      return {
        id,
        significant: true,
        restart: random.pick(["transient", "transient", "temporary"]),
        starts: ["ok", ...Array.from({ length: random.int(0, 2) }, () => this.outcome(false, false)), "ok"]
      }
    })
    const auto_shutdown = random.pick(["all_significant", "all_significant", "any_significant"])
    return {
      strategy: random.pick(["one_for_one", "rest_for_one", "one_for_all"]),
      intensity: 5,
      auto_shutdown,
      children
    }
  }

  private child(id: string, supPath: string, depth: number, auto: string, simple: boolean): Term {
    const { random } = this
    const path = supPath === "" ? id : `${supPath}/${id}`
    const restart = random.weighted([
      [4, "permanent"],
      [3, "transient"],
      [3, "temporary"],
      [0.02, "often"]
    ])
    const significant = auto !== "never" && restart !== "permanent" && random.chance(0.6)
    const nested = !simple && depth < 2 && random.chance(depth === 0 ? 0.35 : 0.2)
    const base: Term = {
      ...(random.chance(0.995) ? { id } : {}),
      ...(random.chance(0.8) ? { restart } : {}),
      ...(significant ? { significant } : {}),
      ...(random.chance(0.005) ? { significant: true } : {}),
      ...(random.chance(0.01) ? { type: random.pick(["worker", "supervisor", "robot"]) } : {})
    }
    if (nested) {
      return {
        ...base,
        ...(random.chance(0.2) ? { shutdown: "infinity" } : {}),
        ...(random.chance(0.15) ? { starts: this.starts(true, simple) } : {}),
        sup: this.sup(path, depth + 1)
      }
    }
    if (!simple) this.workers.push(path)
    const trap = random.chance(0.5)
    const terminate = trap ? this.terminate() : undefined
    return {
      ...base,
      ...this.shutdown(terminate),
      ...(random.chance(0.35) ? { starts: this.starts(false, simple) } : {}),
      ...(trap ? { trap } : {}),
      ...(terminate === undefined ? {} : { terminate })
    }
  }

  private terminate(): unknown {
    return this.random.weighted<unknown>([
      [12, undefined],
      [1, "hang"],
      [2, { delay: this.random.int(1, 4) }],
      [2, { exit: this.random.pick(["oops", "normal", "shutdown", ["shutdown", "z"]]) }]
    ])
  }

  private shutdown(terminate: unknown): Term {
    const { random } = this
    if (terminate === "hang") return { shutdown: random.pick<unknown>(["brutal_kill", 15, 20]) }
    return random.weighted<Term>([
      [5, {}],
      [2, { shutdown: "brutal_kill" }],
      [2, { shutdown: 200 }],
      [1, { shutdown: "infinity" }],
      [0.1, { shutdown: 0 }],
      [0.03, { shutdown: -1 }],
      [0.03, { shutdown: "soon" }]
    ])
  }

  private outcome(sup: boolean, simple: boolean): unknown {
    const { random } = this
    const anywhere: ReadonlyArray<readonly [number, unknown]> = [
      [8, "ok"],
      [1, { info: "i" }],
      [1, { error: this.reason() }],
      [0.5, { return: random.pick<unknown>(["weird", ["weird", 1], 3]) }],
      [1, { raise: "r" }]
    ]
    const worker: ReadonlyArray<readonly [number, unknown]> = [
      [simple ? 0 : 2, "ignore"],
      [2, { stop: this.reason() }],
      [0.5, { bad: random.pick<unknown>(["huh", 5, ["huh", "x"]]) }],
      [1, { crash: random.pick<unknown>(["bad", "normal", "shutdown", ["shutdown", "q"]]) }],
      [1, { exit: this.reason() }]
    ]
    return random.weighted(sup ? anywhere : [...anywhere, ...worker])
  }

  private starts(sup: boolean, simple: boolean): ReadonlyArray<unknown> {
    const { random } = this
    const outcomes = Array.from({ length: random.int(1, 4) }, () => this.outcome(sup, simple))
    // Mostly the first start works, so that there is a tree to talk about; and the last outcome repeats for ever.
    return random.chance(0.93) ? ["ok", ...outcomes, ...(random.chance(0.7) ? ["ok"] : [])] : outcomes
  }

  private path(): string {
    const { random } = this
    const dynamic = this.sups.filter((sup) => sup.simple && sup.started > 0)
    if (dynamic.length > 0 && random.chance(0.4)) {
      const sup = random.pick(dynamic)
      const id = `#${random.int(1, sup.started)}`
      return sup.path === "" ? id : `${sup.path}/${id}`
    }
    return this.workers.length > 0 && random.chance(0.98) ? random.pick(this.workers) : "nowhere"
  }

  private step(): Term {
    const { random } = this
    return random.weighted<() => Term>([
      [8, () => this.crash()],
      [10, () => this.request(random.pick(this.sups))],
      [3, () => ({ op: "advance", s: random.pick([1, 1, 2, 4, 5, 5, 5, 6, 10, 11]) })],
      [5, () => this.batch()],
      [
        0.7,
        () => ({
          op: "kill",
          path: random.pick(this.sups).path,
          reason: random.pick<unknown>(["kill", "shutdown", "boom", "normal"])
        })
      ],
      [0.5, () => ({ op: "send", sup: random.pick(this.sups).path, msg: "hello" })],
      [0.3, () => ({ op: "stop", reason: this.reason() })]
    ])()
  }

  private crash(): Term {
    const { random } = this
    const op = random.weighted([
      [5, "kill"],
      [4, "exit"],
      [2, "raise"]
    ])
    return {
      op,
      path: this.path(),
      reason: op === "raise" ? random.pick<unknown>(["oops", "normal", "shutdown", ["shutdown", "r"]]) : this.reason()
    }
  }

  private request(sup: {
    readonly path: string
    readonly ids: Array<string>
    readonly simple: boolean
    started: number
  }): Term {
    const { random } = this
    const id = () => {
      if (random.chance(sup.simple ? 0.85 : 0.05)) return `pid:${this.path()}`
      return sup.ids.length > 0 && random.chance(0.9) ? random.pick(sup.ids) : random.pick(["t", "zzz"])
    }
    return random.weighted<() => Term>([
      [sup.simple ? 10 : 3, () => this.startChild(sup)],
      [3, () => ({ op: "terminate_child", sup: sup.path, id: id() })],
      [2, () => ({ op: "restart_child", sup: sup.path, id: id() })],
      [1.5, () => ({ op: "delete_child", sup: sup.path, id: id() })],
      [1, () => ({ op: "get_childspec", sup: sup.path, id: id() })],
      [1, () => ({ op: "which_children", sup: sup.path })],
      [1, () => ({ op: "count_children", sup: sup.path })]
    ])()
  }

  private startChild(sup: {
    readonly path: string
    readonly ids: Array<string>
    readonly simple: boolean
    started: number
  }): Term {
    const { random } = this
    if (sup.simple) {
      sup.started++
      const override = random.chance(0.6)
        ? { starts: this.starts(false, true), ...(random.chance(0.3) ? { trap: random.chance(0.5) } : {}) }
        : undefined
      return { op: "start_child", sup: sup.path, ...(override === undefined ? {} : { spec: override }) }
    }
    const id = random.chance(0.3) && sup.ids.length > 0 ? random.pick(sup.ids) : random.pick(ids)
    if (!sup.ids.includes(id)) sup.ids.push(id)
    const spec = this.child(id, sup.path, 1, random.pick(["never", "any_significant"]), false)
    return { op: "start_child", sup: sup.path, spec }
  }

  private batch(): Term {
    const { random } = this
    const sup = random.pick(this.sups)
    const own = (): string | undefined => {
      const mine = this.workers.filter((path) => path.slice(0, Math.max(0, path.lastIndexOf("/"))) === sup.path)
      const { started } = sup
      if (sup.simple && started > 0) {
        const id = `#${random.int(1, started)}`
        return sup.path === "" ? id : `${sup.path}/${id}`
      }
      return mine.length > 0 ? random.pick(mine) : undefined
    }
    // Children that end in one breath: what of it counts is decided by what has happened to the others by then.
    const together = random.chance(0.3)
    const ops = Array.from({ length: random.int(together ? 2 : 1, 4) }, (): Term => {
      const path = random.chance(together ? 0.9 : 0.5) ? own() : undefined
      return path === undefined ? this.request(sup) : { ...this.crash(), path }
    })
    return { op: "batch", sup: sup.path, do: ops }
  }
}

export const generate = (seed: number, index: number): Term =>
  new Generator(new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b))).scenario(`${seed}/${index}`)

// ----------------------------------------------------------------------------
// Shrinking
// ----------------------------------------------------------------------------

const isTerm = (value: unknown): value is Term => typeof value === "object" && value !== null && !Array.isArray(value)

/** Smaller versions of a JSON value: without one element or key, or with one of them made smaller. */
function* smaller(value: unknown): Generator_<unknown> {
  if (Array.isArray(value)) {
    for (let i = value.length - 1; i >= 0; i--) yield value.toSpliced(i, 1)
    for (let i = 0; i < value.length; i++) for (const less of smaller(value[i])) yield value.with(i, less)
  } else if (isTerm(value)) {
    for (const key of Object.keys(value)) {
      if (key === "op" || key === "path" || key === "sup" || key === "id") continue
      const { [key]: _, ...rest } = value
      yield rest
    }
    for (const key of Object.keys(value)) for (const less of smaller(value[key])) yield { ...value, [key]: less }
  }
}
type Generator_<A> = globalThis.Generator<A, void, unknown>

/** Candidates for a smaller scenario. */
export const shrink = (scenario: Term): Generator_<Term> =>
  (function* () {
    for (const less of smaller({ root: scenario.root, steps: scenario.steps })) {
      if (isTerm(less) && isTerm(less.root)) yield { id: scenario.id, steps: [], ...less }
    }
  })()
