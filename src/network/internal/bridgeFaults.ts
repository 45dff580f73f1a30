/** What goes wrong on a VLAN of the fabric "bridge": the impairments of its links and its partitions, and the commands that make them so. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Impairment } from "../Impairment.ts"
import { FabricUnavailable } from "../Vlan.ts"
import * as Commands from "./bridgeCommands.ts"
import type { CommandFailed, Namespace } from "./namespace.ts"
import type { Groups, SetImpairment } from "./vlanState.ts"

/** Why this host cannot do it; undefined where it can. */
export interface Limits {
  readonly impair: FabricUnavailable | undefined
  readonly partition: FabricUnavailable | undefined
}

interface Link {
  readonly devices: Commands.Devices
  /** In the order in which they were set: the last one of a direction holds. */
  readonly impairments: Map<number, SetImpairment>
  /** Whether a direction has a queue that an impairment has made. */
  readonly queued: { out: boolean; in: boolean }
}

/** Sets something until the scope closes. What could not be set is taken back at once. */
const until = (
  set: () => () => boolean,
  apply: Effect.Effect<void, FabricUnavailable>
): Effect.Effect<void, FabricUnavailable, Scope.Scope> =>
  Effect.suspend(() => {
    const unset = set()
    const undo = Effect.suspend(() => (unset() ? Effect.ignore(apply) : Effect.void))
    return Effect.acquireRelease(
      Effect.tapError(apply, () => undo),
      () => undo
    )
  })

export class BridgeFaults {
  private readonly links = new Map<string, Link>()
  private readonly partitions = new Map<number, Groups>()
  private last = 0
  private readonly vlan: number
  private readonly namespace: Pick<Namespace, "run" | "seeds">
  private readonly limits: Limits

  constructor(vlan: number, namespace: Pick<Namespace, "run" | "seeds">, limits: Limits) {
    this.vlan = vlan
    this.namespace = namespace
    this.limits = limits
  }

  /** A port was made. Partitions are of names, which may be those of ports to come. */
  add(name: string, devices: Commands.Devices): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.links.set(name, { devices, impairments: new Map(), queued: { out: false, in: false } })
      return this.partitions.size > 0 ? Effect.ignore(this.separate) : Effect.void
    })
  }

  /** Impairs a link until the scope closes. */
  impair(name: string, set: SetImpairment): Effect.Effect<void, FabricUnavailable, Scope.Scope> {
    if (this.limits.impair !== undefined) return Effect.fail(this.limits.impair)
    const key = ++this.last
    return until(() => {
      this.links.get(name)?.impairments.set(key, set)
      return () => this.links.get(name)?.impairments.delete(key) === true
    }, this.apply(name))
  }

  /** Takes all impairments of a link back. */
  heal(name: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.links.get(name)?.impairments.clear()
      return Effect.ignore(this.apply(name))
    })
  }

  /** Separates ports until the scope closes. */
  partition(groups: Groups): Effect.Effect<void, FabricUnavailable, Scope.Scope> {
    if (this.limits.partition !== undefined) return Effect.fail(this.limits.partition)
    const key = ++this.last
    return until(() => {
      this.partitions.set(key, groups)
      return () => this.partitions.delete(key)
    }, this.separate)
  }

  /** Takes all partitions and all impairments back. */
  get healAll(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.partitions.clear()
      const impaired = [...this.links].filter(([, { impairments }]) => impairments.size > 0)
      return Effect.andThen(
        Effect.ignore(this.separate),
        Effect.forEach(impaired, ([name]) => this.heal(name), { discard: true })
      )
    })
  }

  /** Runs commands; their failure is why it cannot be done here. */
  private run(doing: string, script: string): Effect.Effect<void, FabricUnavailable> {
    const refused = ({ output }: CommandFailed) =>
      new FabricUnavailable({ doing, reason: output, advice: "run vmtest doctor for more" })
    return Effect.asVoid(Effect.mapError(this.namespace.run(script), refused))
  }

  /** Makes the queues of a link what its impairments are. */
  private apply(name: string): Effect.Effect<void, FabricUnavailable> {
    return Effect.suspend(() => {
      const link = this.links.get(name)
      if (link === undefined) return Effect.void
      const { devices, impairments, queued } = link
      const holds = (direction: "out" | "in"): Impairment | undefined => {
        const last = [...impairments.values()]
          .filter((set) => set.direction === direction || set.direction === "both")
          .at(-1)
        if (last === undefined) return queued[direction] ? Commands.unimpaired : undefined
        queued[direction] = true
        return last.impairment
      }
      const both = { out: holds("out"), in: holds("in") }
      if (both.out === undefined && both.in === undefined) return Effect.void
      return this.run("impair links", Commands.impair(devices, both, this.namespace.seeds ? name : undefined))
    })
  }

  /** Makes the rules of the VLAN what its partitions are. */
  private get separate(): Effect.Effect<void, FabricUnavailable> {
    return Effect.suspend(() => {
      if (this.limits.partition !== undefined) return Effect.void
      const devices = new Map([...this.links].map(([name, link]) => [name, link.devices]))
      const pairs = Commands.separated(devices, [...this.partitions.values()])
      return this.run("separate machines", Commands.partition(this.vlan, pairs))
    })
  }
}
