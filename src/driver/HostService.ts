/**
 * A server of the test itself that guests reach by name, as if it were one more machine: a fake upstream, a mock of an API, a collector of logs.
 *
 * **Example** (An API that answers, then fails)
 *
 * ```ts
 * import { Effect, Ref } from "effect"
 * import { HttpServerResponse } from "effect/http"
 * import { Image, test } from "vmtest"
 *
 * export default test("an API", { machines: { client: { image: Image.tiny() } } }, ({ client }, driver) =>
 *   Effect.gen(function* () {
 *     const isUp = yield* Ref.make(true)
 *     const handler = Effect.map(Ref.get(isUp), (up) => HttpServerResponse.text("hello\n", { status: up ? 200 : 503 }))
 *     yield* driver.hostService({ name: "api", port: 80, handler })
 *     yield* client.succeed("wget -O - http://api/")
 *     yield* Ref.set(isUp, false)
 *     yield* client.fail("wget -O - http://api/")
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Socket } from "effect/socket/Socket"
import * as Arguments from "../guest/Arguments.ts"
import type { InvalidArgument } from "../guest/MachineError.ts"
import * as Fields from "../host/Fields.ts"
import type { HostProcessError } from "../host/HostProcess.ts"
import * as MachineSpec from "../machine/MachineSpec.ts"
import type { HostServiceFailed } from "../network/HostCard.ts"
import type { ImpairmentOptions } from "../network/Impairment.ts"
import { ImpairmentOptions as ImpairmentSchema } from "../network/Impairment.ts"
import * as IpAddress from "../network/IpAddress.ts"
import type { PortCounts } from "../network/PortCounts.ts"
import type { FabricUnavailable, VlanFailed } from "../network/Vlan.ts"
import { Reference } from "./Network.ts"

/** Answers HTTP requests. */
export type HttpHandler<E = never, R = never> = Effect.Effect<HttpServerResponse, E, R>

/** Serves one TCP connection, which is closed when its Effect has ended. */
export type TcpHandler<E = never, R = never> = (socket: Socket) => Effect.Effect<unknown, E, R>

/** What a service is declared as. */
export interface HostServiceOptions<E = never, R = never> {
  /** The host name that guests reach it by. Services of one name have one address. */
  readonly name: string
  /** 1 to 65535; each port of a name is served once at a time. */
  readonly port: number
  /**
   * An Effect that answers one HTTP request, with `HttpServerRequest` as a service; or a function that serves one TCP connection. A failure ends that
   * request with status 500, or that connection, and is in the test's report.
   */
  readonly handler: HttpHandler<E, R> | TcpHandler<E, R>
  /** The number or the name of its network. Default: the first network of the test, or VLAN 1. */
  readonly network?: number | string | undefined
  /**
   * With a prefix of 24 bits by default: `"10.0.0.9/24"`. Default: the highest free address of the network, `192.168.1.254` on VLAN 1; in the network of
   * the machines' addresses there, if they are declared.
   */
  readonly ipv4?: string | undefined
  /**
   * With a prefix of 64 bits by default: `"fd00::9/64"`; or `"none"`. Default: the highest free address of the network's first 254, `2001:db8:1::fe` on VLAN 1; none if no
   * machine there has one.
   */
  readonly ipv6?: string | undefined
}

/** What passes the service's link, and what happens to it there. */
export interface HostServiceLink {
  /** Impairs the link until the scope closes, as `machine.link().impair` does. */
  readonly impair: (options: ImpairmentOptions) => Effect.Effect<void, FabricUnavailable | InvalidArgument, Scope.Scope>
  /** Takes all impairments of the link back. */
  readonly heal: () => Effect.Effect<void>
  /** How many frames it has sent and received, and how many were lost, duplicated, corrupted or reordered on the way. */
  readonly counts: () => Effect.Effect<PortCounts>
}

/** A service that runs. It can be a side of `network.partition`. */
export interface HostService {
  readonly _tag: "HostService"
  readonly name: string
  readonly port: number
  /** The number of its network. */
  readonly vlan: number
  readonly ipv4: string
  /** Undefined if it has none. */
  readonly ipv6: string | undefined
  readonly mac: string
  /** The link of its name, which all its ports share. */
  readonly link: () => HostServiceLink
}

/** Why a service did not start. */
export type HostServiceError = InvalidArgument | HostProcessError | HostServiceFailed | VlanFailed

/** Starts a service, until the scope closes. */
export type Serve = <E, R>(
  options: HostServiceOptions<E, R>
) => Effect.Effect<HostService, HostServiceError, Scope.Scope | Exclude<R, HttpServerRequest | Scope.Scope>>

/** An address with or without its prefix. */
const addressOf = (family: IpAddress.Family, words: { readonly none: boolean }) =>
  Schema.String.check(
    Schema.makeFilter((text: string) => {
      const parsed = words.none && text === "none" ? undefined : IpAddress.parse(family, text, words)
      return parsed !== undefined && Result.isFailure(parsed) ? parsed.failure : undefined
    })
  )

/** What it takes. */
export const Options = Schema.Struct({
  name: MachineSpec.HostName,
  port: Fields.Port,
  handler: Schema.declare<HttpHandler<unknown, unknown> | TcpHandler<unknown, unknown>>(
    (value): value is HttpHandler<unknown, unknown> => Effect.isEffect(value) || typeof value === "function",
    { expected: "an Effect that gives an HttpServerResponse, or a function of a Socket that gives an Effect" }
  ),
  network: Schema.optional(Reference),
  ipv4: Schema.optional(addressOf("ipv4", { none: false })),
  ipv6: Schema.optional(addressOf("ipv6", { none: true }))
}).annotate({
  expected: 'an object such as { name: "api", port: 80, handler }',
  aliases: { host: "name", handle: "handler", serve: "handler", vlan: "network", address: "ipv4" }
})

/** What the methods of its link take. */
export const linkParameters = Arguments.of<HostServiceLink>({
  impair: Arguments.takes({ options: ImpairmentSchema }),
  heal: Arguments.takes({}),
  counts: Arguments.takes({})
})
