/** The spans of the driver: their names, and the attributes that people search by. */
import type * as Tracer from "effect/Tracer"

type Span = readonly [name: string, options: Tracer.SpanOptionsNoTrace, trace: Tracer.TraceOptions]

// A span's own stack trace would be in the way of the script's line.
const span = (name: string, attributes: Readonly<Record<string, unknown>>): Span => [
  `vmtest.${name}`,
  { attributes },
  { captureStackTrace: false }
]

/** How a test or a subtest ended, as in its result. The span of a subtest that failed only within has no error of its own. */
export const status = "vmtest.test.status"

export const test = (name: string): Span => span("test", { "vmtest.test.name": name })

export const subtest = (path: ReadonlyArray<string>): Span =>
  span("subtest", { "vmtest.subtest.name": path.at(-1), "vmtest.subtest.path": path.join(" › ") })

/** Starts the machines that start by themselves. */
export const start = (machines: ReadonlyArray<string>): Span => span("driver.start", { "vmtest.machines": machines })

/** `driver.fork`: from the saving of the machines to the end of its body. */
export const fork = (machines: ReadonlyArray<string>): Span => span("driver.fork", { "vmtest.machines": machines })
