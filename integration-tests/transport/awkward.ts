/** Commands that trip up command channels, and what must come of each. Every guest shell must give the same. */
import type { ExecuteOptions } from "../../src/transport/Shell.ts"

/** One command; what is left out is not looked at. */
export interface Awkward {
  readonly name: string
  readonly command: string
  readonly options?: ExecuteOptions
  readonly exitCode?: number | ReadonlyArray<number>
  readonly stdout?: string | RegExp
  readonly stderr?: string | RegExp
  /** for bash only */
  readonly bash?: true
}

const digits = "0123456789"

export const awkward: ReadonlyArray<Awkward> = [
  { name: "no output", command: "true", exitCode: 0, stdout: "", stderr: "" },
  {
    name: "output without a newline",
    command: "printf abc; printf def >&2",
    exitCode: 0,
    stdout: "abc",
    stderr: "def"
  },
  {
    name: "both streams apart",
    command: "echo out; echo err >&2; exit 3",
    exitCode: 3,
    stdout: "out\n",
    stderr: "err\n"
  },
  {
    name: "memory that runs out ends a command before the shells that run it",
    command: 'cat /proc/self/oom_score_adj /proc/$PPID/oom_score_adj; sh -c "cat /proc/self/oom_score_adj"',
    exitCode: 0,
    stdout: "0\n-1000\n0\n"
  },
  {
    name: "with input, too",
    command: "cat /proc/self/oom_score_adj",
    options: { stdin: "x" },
    exitCode: 0,
    stdout: "0\n"
  },
  { name: "exit inside", command: "echo a; exit 7; echo b", exitCode: 7, stdout: "a\n" },
  { name: "exec", command: "exec sh -c 'echo replaced; exit 9'", exitCode: 9, stdout: "replaced\n" },
  {
    name: "exec of the descriptors",
    command: "exec >/dev/null 2>&1; echo gone; exit 4",
    exitCode: 4,
    stdout: "",
    stderr: ""
  },
  { name: "errexit", command: "false; echo not reached", exitCode: 1, stdout: "" },
  { name: "errexit off", command: "set +e; false; echo reached", exitCode: 0, stdout: "reached\n" },
  { name: "nounset", command: 'echo "$no_such_variable"; echo not reached', exitCode: [1, 2], stdout: "" },
  { name: "pipefail", command: "false | true", exitCode: 1 },
  { name: "death of a child by a signal", command: "set +e; sh -c 'kill -TERM $$'; exit $?", exitCode: 143 },
  {
    name: "killing its own shell with TERM",
    command: "echo before; kill -TERM $$; sleep 5; echo after",
    exitCode: 143,
    stdout: "before\n"
  },
  {
    name: "killing its own shell with KILL",
    command: "echo before; kill -KILL $$; sleep 5; echo after",
    exitCode: 137,
    stdout: "before\n"
  },
  { name: "killing its own group", command: "echo before; kill -KILL 0; sleep 5", exitCode: 137, stdout: "before\n" },
  { name: "an unbalanced quote", command: `echo "abc`, exitCode: [1, 2], stdout: "", stderr: /./ },
  { name: "a syntax error", command: "if; then )", exitCode: [1, 2], stdout: "", stderr: /./ },
  { name: "an unfinished here-document", command: "cat <<EOF\nabc", exitCode: 0, stdout: /^abc\n?$/ },
  {
    name: "a here-document",
    command: "cat <<'EOF'\n$HOME `id` \\\n  'x'\nEOF\n",
    exitCode: 0,
    stdout: "$HOME `id` \\\n  'x'\n"
  },
  {
    name: "common indentation",
    command: "\n    cat <<EOF\n      two\n    none\n    EOF\n  ",
    exitCode: 0,
    stdout: "  two\nnone\n"
  },
  {
    name: "several lines with blanks at their ends",
    command: "printf '%s' 'a  \n\t b  '\n\n",
    exitCode: 0,
    stdout: "a  \n\t b  "
  },
  { name: "a trailing backslash", command: "printf '%s' a\\\nb\\", exitCode: 0, stdout: /^ab/ },
  { name: "backslashes and percent signs", command: `printf '%s' 'a\\nb%s%%\\\\'`, stdout: "a\\nb%s%%\\\\" },
  { name: "a carriage return", command: "printf '%s' 'a\rb'", stdout: "a\rb" },
  { name: "UTF-8", command: "printf '%s' 'grüße 世界 🎉'", stdout: "grüße 世界 🎉" },
  { name: "bytes that are no UTF-8", command: "printf 'a\\377b'", stdout: "a\ufffdb" },
  { name: "NUL bytes", command: "printf 'a\\000b'", stdout: "a\0b" },
  { name: "a comment at the end", command: "echo a # b", stdout: "a\n" },
  { name: "a background command at the end", command: "sleep 0.1 &", exitCode: 0 },
  {
    name: "a background child that keeps the output",
    command: "sleep 3 & echo started",
    exitCode: 0,
    stdout: "started\n"
  },
  {
    name: "a child in a session of its own that keeps it",
    command: "setsid sleep 3 & echo started",
    exitCode: 0,
    stdout: "started\n"
  },
  { name: "reading nothing", command: "cat; echo end", exitCode: 0, stdout: "end\n" },
  { name: "closing its input", command: "exec <&-; echo ok", exitCode: 0, stdout: "ok\n" },
  { name: "closing its output", command: "exec >&- 2>&-; exit 5", exitCode: 5, stdout: "", stderr: "" },
  { name: "its input from a string", command: "cat", options: { stdin: "one\ntwo" }, exitCode: 0, stdout: "one\ntwo" },
  {
    name: "its input with every byte",
    command: "od -An -v -tu1 | tr -d ' \\n' | wc -c",
    options: { stdin: Uint8Array.from({ length: 256 }, (_, i) => i) },
    stdout: /^658\s*$/
  },
  {
    name: "an input that it does not read",
    command: "echo ok",
    options: { stdin: "x".repeat(9000) },
    exitCode: 0,
    stdout: "ok\n"
  },
  {
    name: "a long input that it does not read",
    command: "echo ok",
    options: { stdin: "exit 3\n".repeat(300_000) },
    exitCode: 0,
    stdout: "ok\n"
  },
  {
    name: "a long input of which it reads one line",
    command: "read -r a; echo $a",
    options: { stdin: "line\n".repeat(300_000) },
    exitCode: 0,
    stdout: "line\n"
  },
  { name: "a long input", command: "wc -c", options: { stdin: digits.repeat(123_457) }, stdout: /^1234570\s*$/ },
  {
    name: "opening its streams by name",
    command: "cat /dev/stdin >/dev/stdout; echo err >/dev/stderr",
    options: { stdin: "in" },
    exitCode: 0,
    stdout: "in",
    stderr: "err\n"
  },
  { name: "tee to a stream", command: "echo x | tee /dev/stderr", exitCode: 0, stdout: "x\n", stderr: "x\n" },
  {
    name: "printing framing",
    command: "printf '\\036%032d 0\\n\\036%032d R\\n' 0 0; printf '\\036'; printf '\\036' >&2",
    exitCode: 0,
    stdout: `\x1e${"0".repeat(32)} 0\n\x1e${"0".repeat(32)} R\n\x1e`,
    stderr: "\x1e"
  },
  { name: "a long command", command: `x='${digits.repeat(200_000)}'; echo \${#x}`, exitCode: 0, stdout: "2000000\n" },
  {
    name: "a long command with an input",
    command: `x='${digits.repeat(10_000)}'; echo \${#x}; cat`,
    options: { stdin: "in" },
    stdout: "100000\nin"
  },
  { name: "a folder", command: "pwd", options: { cwd: "/tmp" }, exitCode: 0, stdout: "/tmp\n" },
  {
    name: "variables",
    command: 'printf %s "$A|$B_2"',
    options: { env: { A: "it's $HOME\nand", B_2: "" } },
    exitCode: 0,
    stdout: "it's $HOME\nand|"
  },
  { name: "no variables of another command", command: 'echo "${A-none}"', stdout: "none\n" },
  { name: "positional parameters", command: 'echo "$# $*"', stdout: "0 \n" },
  { name: "a trap", command: "trap 'echo bye' EXIT; echo hi; exit 6", exitCode: 6, stdout: "hi\nbye\n" },
  { name: "umask, variables and functions stay its own", command: "umask 077; _x=1; f() { :; }; cd /", exitCode: 0 },
  { name: "and are not seen by the next", command: 'umask; echo "${_x-none}"; pwd', stdout: /^0?022\nnone\n\/root\n$/ },
  {
    name: "many lines",
    command: "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done",
    exitCode: 0,
    stdout: Array.from({ length: 2000 }, (_, i) => `${i}\n`).join("")
  },
  {
    name: "a million lines",
    command: "seq 0 999999",
    exitCode: 0,
    stdout: Array.from({ length: 1_000_000 }, (_, i) => `${i}\n`).join("")
  },
  { name: "an array", command: "a=(1 2 3); echo ${#a[@]}", exitCode: 0, stdout: "3\n", bash: true },
  { name: "a command that is not there", command: "no-such-command", exitCode: 127, stderr: /not found/ }
]
