// A vitest reporter that collects what the last lines of `npm test` say: the counts, and every skip with its reason.
import { writeFileSync } from "node:fs"

/** What the test said when it skipped itself, or what `titled` of test/needs.ts put into the title of it or of its suite. */
const skipReason = (test) => test.result().note ?? /\(skipped: (.+)\)/.exec(test.fullName)?.[1]

/** Writes `{ passed, failed, skipped: [{ name, reason }] }` to the file that VMTEST_COUNTS names. */
export default class CountingReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: [] }
    for (const module of modules) {
      // A file that could not be loaded, or a suite whose hook threw, has no failed test to be counted by.
      const before = counts.failed
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        if (state === "passed") counts.passed++
        else if (state === "failed") counts.failed++
        else {
          const reason = skipReason(test)
          if (reason === undefined) counts.failed++
          counts.skipped.push({
            name: `${module.relativeModuleId} > ${test.fullName}`,
            reason: reason ?? "no reason given; use titled or needs of test/needs.ts (counted as failed)"
          })
        }
      }
      if (module.state() === "failed" && counts.failed === before) counts.failed++
    }
    writeFileSync(process.env.VMTEST_COUNTS, JSON.stringify(counts))
  }
}
