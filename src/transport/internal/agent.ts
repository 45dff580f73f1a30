/**
 * The guest's side of the channel, as text that bash, dash and busybox ash can read.
 *
 * A fork costs 5 to 40 ms under emulation and starting a program twice that, so the path of one command is builtins, but
 * for the subshell it runs in. Names start with `_vt`, since commands see them.
 *
 * A *lane* is a worker shell that reads commands from fd 3, two pumps that copy what it says to fd 6 and 7, and a
 * supervisor. Output goes through named pipes and not straight to the port, because a port cannot be opened twice, so
 * that `echo >/dev/stderr` would fail. A pump is one `cat a b a b …`: it moves on to the next pipe when nobody holds the
 * last one open any more, and the worker blocks in opening it until then. So a lane says "ready" exactly when no process
 * that its last command left behind can write any more, and whatever such a process wrote comes before the "ready".
 *
 * Said on both outputs (RS is byte 0x1e):
 *
 *     RS nonce SP status SP check LF     the command ended; status and check make 255, so that no damaged byte passes
 *     RS nonce SP R LF                   the lane is ready for a command
 *
 * Read from fd 3: `nonce mode lines bytes LF`, then the lines of the command, then the bytes of its spooled file.
 *
 *     mode n   no input
 *     mode b   one more line: the input, as `printf %b` takes it
 *     mode s   the input follows in frames of `size count LF data`, `0 0 LF` the last
 *     mode r   nothing runs; the worker says again that it is ready
 *     mode p   the same, without a new process; only from a worker that waits for a command
 *
 * The files of a lane are made when the guest is given the agent, and written over in place from then on, a line each: a guest whose
 * disk fills up, its /run included, runs commands as before.
 */

import { bootstrap } from "./agentBootstrap.ts"
import { worker } from "./agentWorker.ts"

/** Shell text without its comments and indentation: a guest reads what is typed byte by byte, and every worker reads it again. */
const terse = (text: string): string => text.replace(/^[ \t]*(?:#.*)?\n/gm, "").replace(/^[ \t]+/gm, " ")

/** What workers, supervisors and the bootstrap shell run; in the guest it is the file `bash`, as errors of commands begin. */
export const agent = terse(`
${worker}${bootstrap}
if [ $# -gt 0 ]; then
  _vt_d=$1 _vt_lane=$2 _vt_k=$1/$2
  _vt_supervise $4 $$
fi
`)
