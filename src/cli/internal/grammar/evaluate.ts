/** `vmtest eval` and `vmtest eval-file`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { choose } from "./chosen.ts"
import * as RunOptions from "./runOptions.ts"

/** What `vmtest eval` is asked for. */
export interface Eval {
  readonly _tag: "Eval"
  readonly expression: string
  readonly options: RunOptions.RunOptions
}

/** What `vmtest eval-file` is asked for. */
export interface EvalFile {
  readonly _tag: "EvalFile"
  readonly file: string
  readonly options: RunOptions.RunOptions
}

export const expression = Command.make(
  "eval",
  {
    expression: Argument.String("EXPRESSION").pipe(Argument.withDescription("A TypeScript expression")),
    ...RunOptions.flags
  },
  ({ expression, ...options }) => choose({ _tag: "Eval", expression, options })
).pipe(
  Command.withDescription(
    "Evaluate an expression with driver, Image and Effect in scope, and print its value. An Effect is run; yield* is allowed."
  ),
  Command.withExamples([
    {
      command: `vmtest eval '(yield* driver.machine("m", { image: Image.tiny() })).succeed("uname -a")'`,
      description: "Boot a guest and print a command's output"
    }
  ])
)

export const file = Command.make(
  "eval-file",
  {
    file: Argument.String("FILE").pipe(
      Argument.withDescription("An expression, the body of a generator, or a module with a default export")
    ),
    ...RunOptions.flags
  },
  ({ file, ...options }) => choose({ _tag: "EvalFile", file, options })
).pipe(Command.withDescription("Evaluate a program in a file, like eval"))
