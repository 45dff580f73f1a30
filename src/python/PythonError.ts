/**
 * What a test in Python can fail with, beside the errors of the methods that it calls.
 *
 * An exception that comes from a method and that the script does not catch fails the test with the method's own error, as in TypeScript, at the
 * script's line.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { section } from "../host/Evidence.ts"

/** The script raised an exception of its own. `type` is its class. */
export class ScriptRaised extends Schema.TaggedError<ScriptRaised>()("ScriptRaised", {
  type: Schema.String,
  text: Schema.String
}) {
  override get message() {
    return this.text === "" ? this.type : `${this.type}: ${this.text}`
  }
}

/** The script is not valid Python; line and column count from 1. */
export class PythonSyntaxError extends Schema.TaggedError<PythonSyntaxError>()("PythonSyntaxError", {
  file: Schema.String,
  line: Schema.Int,
  column: Schema.Int,
  problem: Schema.String
}) {
  override get message() {
    return `syntax error: ${this.problem}`
  }
}

/** The interpreter ended before the script did: it was killed, crashed, or the script called `os._exit`. `status` says how. */
export class InterpreterDied extends Schema.TaggedError<InterpreterDied>()("InterpreterDied", {
  status: Schema.String,
  stderr: Schema.String
}) {
  override get message() {
    return `the Python interpreter ended before the script did, with ${this.status}${section("stderr", this.stderr)}`
  }
}

/** The interpreter said something that vmtest does not understand. A script must not write to descriptor 4. */
export class ProtocolBroken extends Schema.TaggedError<ProtocolBroken>()("ProtocolBroken", {
  reason: Schema.String
}) {
  override get message() {
    return `vmtest and the Python interpreter lost each other: ${this.reason}; a script must not use descriptor 4`
  }
}

/** The script used something that vmtest does not have; `reason` says why, and what to use. */
export class NotAvailable extends Schema.TaggedError<NotAvailable>()("NotAvailable", {
  what: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.what}: ${this.reason}`
  }
}

/** The script could not be read. */
export class ScriptUnreadable extends Schema.TaggedError<ScriptUnreadable>()("ScriptUnreadable", {
  file: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.file}: ${this.reason}`
  }
}
