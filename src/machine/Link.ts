/**
 * A machine's network cables, what goes wrong on them, and ports of the host that lead into it.
 *
 * **Example** (A network that is slow, then fails, and a port for the host)
 *
 * ```ts
 * yield* Effect.scoped(
 *   Effect.gen(function* () {
 *     yield* web.link("eth1").impair({ latency: "200 millis", loss: "5 %" })
 *     yield* client.succeed("curl --max-time 30 http://web")
 *   })
 * )
 * yield* web.block()
 * yield* client.fail("curl --max-time 5 http://web")
 * yield* web.unblock()
 * const port = yield* web.forwardPort({ guestPort: 80 })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { NetworkShape } from "../backends/Backend.ts"
import { type ControlError, type Unsupported, unsupported } from "../backends/BackendError.ts"
import { action, guard } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import type { Guest, Unavailable } from "../guest/Guest.ts"
import { InvalidArgument } from "../guest/MachineError.ts"
import type { PollingConditionFailed } from "../guest/PollingCondition.ts"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import * as Impairment from "../network/Impairment.ts"
import { type ImpairmentOptions, ImpairmentOptions as ImpairmentSchema } from "../network/Impairment.ts"
import * as NetworkSpec from "../network/NetworkSpec.ts"
import * as PortCounts from "../network/PortCounts.ts"
import type { FabricUnavailable } from "../network/Vlan.ts"
import { QmpError, type QmpService } from "../transport/qmp/Qmp.ts"
import { onControl } from "./Control.ts"

type LinkFailure = Unavailable | ControlError | PollingConditionFailed

/** Which card: its interface (`"eth1"`), or a network, by number or name, for all cards of the machine on it. */
export type CardReference = number | string

/** What passes a card's link, and what happens to it there. */
export interface Link {
  /**
   * Impairs the link until the scope closes: at the end of the test, or of the part of it in `Effect.scoped`. Each call replaces what an earlier one
   * set for the same direction, which holds again when this one's scope has closed. It can be called at any time, whether the machine runs or not.
   */
  readonly impair: (
    options: ImpairmentOptions
  ) => Effect.Effect<void, FabricUnavailable | InvalidArgument | Unsupported, Scope.Scope>
  /** Takes all impairments of the link back. What is under way still arrives late. */
  readonly heal: () => Effect.Effect<void, InvalidArgument | Unsupported>
  /** Pulls the cable; the guest sees that its carrier is gone. */
  readonly block: () => Effect.Effect<void, LinkFailure | InvalidArgument>
  /** Plugs the cable in again. */
  readonly unblock: () => Effect.Effect<void, LinkFailure | InvalidArgument>
  /** How many frames the card has sent and received, and how many were lost, duplicated, corrupted or reordered on the way, since the test began. */
  readonly counts: () => Effect.Effect<PortCounts.PortCounts, InvalidArgument | Unsupported>
}

/** The cables of a machine. */
export interface LinkMethods {
  /**
   * Pulls the cables of all cards of the declaration, or of some. Cards that were plugged in keep theirs: `unplug` takes such a card out.
   */
  readonly block: (card?: CardReference) => Effect.Effect<void, LinkFailure | InvalidArgument>
  /** Plugs the cables of all cards of the declaration, or of some. */
  readonly unblock: (card?: CardReference) => Effect.Effect<void, LinkFailure | InvalidArgument>
  /** The link of a card of the declaration, or of all of them together. */
  readonly link: (card?: CardReference) => Link
  /**
   * Forwards a port of the host's loopback to a TCP port of the guest while the machine runs, and returns the host's port. If the host's port
   * is in use, it fails with a `QmpError`.
   */
  readonly forwardPort: (ports: ForwardPortOptions) => Effect.Effect<number, LinkFailure | InvalidArgument>
}

const AnyCard = Schema.Union([Schema.Number, Schema.String]).annotate({
  expected: 'an interface such as "eth1", or a network, by its number or name'
})

/** A port of the host to forward into the guest. */
export const ForwardPortOptions = Schema.Struct({
  /** On the host's loopback. Default 0: any free port. */
  hostPort: Schema.optional(Fields.whole(0, 65535, "a whole number")),
  guestPort: Fields.Port
}).annotate({ expected: "an object { guestPort, hostPort? }" })

/** A port of the host to forward into the guest. */
export interface ForwardPortOptions extends Schema.Schema.Type<typeof ForwardPortOptions> {}

/** What its methods take. Which VLANs a machine has is its own. */
export const parameters = Arguments.of<LinkMethods>({
  block: Arguments.takes({ card: Schema.optional(AnyCard) }),
  unblock: Arguments.takes({ card: Schema.optional(AnyCard) }),
  link: Arguments.takes({ card: Schema.optional(AnyCard) }, { gives: "methods" }),
  forwardPort: Arguments.takes({ ports: ForwardPortOptions })
})

const linkParameters = Arguments.of<Link>({
  impair: Arguments.takes({ options: ImpairmentSchema }),
  heal: Arguments.takes({}),
  block: Arguments.takes({}),
  unblock: Arguments.takes({}),
  counts: Arguments.takes({})
})

/** Why the cards of a guest have no links. */
const noLink = ({ backend, name }: Guest, method: string): InvalidArgument | Unsupported =>
  backend.capabilities.has("links")
    ? new InvalidArgument({
        ...{ machine: name, method, argument: "card", value: "" },
        reason: `${name} is a fork that is alone on networks of its own, which have no links; fork({ identity: true }) has links`
      })
    : unsupported(backend.name, "links")

/** The cable methods of a guest with these cards on VLANs, on the networks that its test declares. */
export const make = (
  guest: Guest,
  cards: ReadonlyArray<NetworkShape>,
  networks?: ReadonlyArray<NetworkSpec.NetworkSpec>
): LinkMethods => {
  const adding = Semaphore.makeUnsafe(1)

  const chosen = (
    method: string,
    card: CardReference | undefined
  ): Effect.Effect<ReadonlyArray<NetworkShape>, InvalidArgument> =>
    Effect.suspend(() => {
      const named = networks?.find(({ name }) => name === card)?.vlan
      const found =
        card === undefined
          ? cards
          : cards.filter(({ device, vlan }) => card === device || card === vlan || vlan === named)
      if (found.length > 0 || card === undefined) return Effect.succeed(found)
      const known = cards.map(
        ({ device, vlan }) => `${device} on ${NetworkSpec.of(networks, vlan).name ?? `VLAN ${vlan}`}`
      )
      const reason = `card must be one that this machine declares (${known.length === 0 ? "it has none" : known.join(", ")}), got ${Decode.shown(card)}`
      return Effect.fail(new InvalidArgument({ machine: guest.name, method, argument: "card", value: card, reason }))
    })

  const setLinks = (up: boolean) =>
    Effect.fnUntraced(function* (card?: CardReference) {
      const name = up ? "unblock" : "block"
      const those = yield* chosen(name, card)
      const control = yield* guest.control
      yield* guard(
        guest,
        { name, doing: up ? "plugging cables" : "pulling cables", attributes: { card } },
        Effect.forEach(those, ({ device }) => control.setLink(device, up), { discard: true })
      )
    })

  /** The ports of cards. A machine that has no network with others has none. */
  const ports = (method: string, card: CardReference | undefined) =>
    Effect.flatMap(chosen(method, card), (those) =>
      Effect.forEach(those, ({ port }) =>
        port === undefined ? Effect.fail(noLink(guest, method)) : Effect.succeed(port)
      )
    )

  const link = (card?: CardReference): Link => {
    const attributes = { card }
    return Arguments.checked<Link>(
      guest.name,
      linkParameters,
      {
        impair: (options) =>
          Effect.flatMap(ports("link().impair", card), (those) => {
            const settings = Result.getOrThrow(Impairment.fromOptions(options))
            return action(
              guest,
              { name: "impair", doing: `impairing its network: ${Impairment.describe(settings)}`, attributes },
              Effect.forEach(those, ({ impair }) => impair(settings), { discard: true })
            )
          }),
        heal: () =>
          Effect.flatMap(ports("link().heal", card), (those) =>
            action(
              guest,
              { name: "heal", doing: "healing its network", attributes },
              Effect.forEach(those, ({ heal }) => heal, { discard: true })
            )
          ),
        block: () => setLinks(false)(card),
        unblock: () => setLinks(true)(card),
        counts: () =>
          Effect.map(
            Effect.flatMap(ports("link().counts", card), (those) => Effect.forEach(those, ({ counts }) => counts)),
            PortCounts.sum
          )
      },
      "link()."
    )
  }

  return Arguments.checked<LinkMethods>(guest.name, parameters, {
    block: setLinks(false),
    unblock: setLinks(true),
    link,
    forwardPort: ({ guestPort, hostPort = 0 }) =>
      onControl(
        guest,
        { name: "forwardPort", doing: `forwarding port ${guestPort}`, attributes: { port: guestPort } },
        (control) => adding.withPermits(1)(addForward(control, guest.name, guestPort, hostPort))
      )
  })
}

/** The ports of a machine's forwards, on the host and in the guest. "TCP[HOST_FORWARD]  23  127.0.0.1 40123  10.0.2.15 80 …" */
const forwards = (control: QmpService) =>
  Effect.map(control.hmp("info usernet"), (rows) =>
    [...rows.matchAll(/TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)/g)].map(
      ([, host, inside]) => [Number(host), Number(inside)] as const
    )
  )

/** QEMU does not say which port it chose, but lists all forwards. */
const addForward = Effect.fnUntraced(function* (
  control: QmpService,
  machine: string,
  guestPort: number,
  hostPort: number
) {
  const before = new Set((yield* forwards(control)).map(([host]) => host))
  const said = (yield* control.hmp(`hostfwd_add tcp:127.0.0.1:${hostPort}-:${guestPort}`)).trim()
  const added = (yield* forwards(control)).find(([host, inside]) => inside === guestPort && !before.has(host))
  if (said === "" && added !== undefined) return added[0]
  return yield* new QmpError({
    machine,
    command: "hostfwd_add",
    class: "HumanMonitor",
    desc: said === "" ? "the forward is not listed" : said
  })
})
