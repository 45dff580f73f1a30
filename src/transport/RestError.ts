/**
 * What can go wrong between vmtest and a hypervisor that it talks to over HTTP.
 *
 * **Example** (A hypervisor that refuses to pause)
 *
 * ```ts
 * web.pause().pipe(Effect.catchTag("RestError", ({ reason }) => driver.log(reason)))
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A hypervisor refused a request over HTTP (`refused`), could not be reached (`unreachable`), hung up before it answered (`closed`), did not answer in time
 * (`timeout`), or answered something of another shape (`unexpected`). `reason` is in the hypervisor's own words where it has any.
 */
export class RestError extends Schema.TaggedError<RestError>()("RestError", {
  machine: Schema.String,
  method: Schema.String,
  path: Schema.String,
  kind: Schema.Literals(["refused", "unreachable", "closed", "timeout", "unexpected"]),
  /** Of the answer, where there was one. */
  status: Schema.optionalKey(Schema.Int),
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: ${this.said}`
  }

  /** The message without the machine. */
  get said(): string {
    return sentences[this.kind](`${this.method} ${this.path}`, this)
  }
}

const sentences: Readonly<
  Record<RestError["kind"], (request: string, error: { readonly reason: string; readonly status?: number }) => string>
> = {
  refused: (request, { reason, status }) => `the hypervisor refused ${request} with status ${status}: ${reason}`,
  unreachable: (request, { reason }) => `could not reach the hypervisor for ${request}: ${reason}`,
  closed: (request, { reason }) => `the hypervisor hung up before it answered ${request}: ${reason}`,
  timeout: (request, { reason }) => `the hypervisor did not answer ${request} within ${reason}`,
  unexpected: (request, { reason }) => `the hypervisor's answer to ${request} could not be read: ${reason}`
}
