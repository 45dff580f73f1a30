/**
 * The report of `--junit-xml`, in the form that the NixOS test driver gives it: a suite with a case for each subtest, and the case `main` for what runs
 * outside of subtests. Each has the lines that were logged in it.
 *
 * **Example** (A report beside the test's other files)
 *
 * ```ts
 * const program = Junit.reported("out/junit.xml")(Runner.run(tests, options))
 * ```
 *
 * @since 0.1.0
 */
import * as Reports from "../report/Reports.ts"

/** Writes a report of what an effect runs to a file when it ends, however it ends. Fails before that if the file cannot be written. */
export const reported = (file: string) =>
  Reports.written({ junit: file }, { junitForm: "nixos", junitOption: "--junit-xml" })
