/**
 * The one program of vmtest's in its images, for guests that are reached over vsock: no shell can open a socket, and neither busybox nor anything
 * else that a tiny image has can open one of vsock. Perl with its libraries would be five megabytes of a guest that lives in memory; this is half a kilobyte.
 *
 *     vsock listen PORT PROGRAM [ARGUMENT…]   each connection to the port is the standard input and output of a PROGRAM of its own
 *     vsock dial PORT PROGRAM [ARGUMENT…]     becomes PROGRAM, whose 3, 6 and 7 are connections to three ports of the host, from PORT on
 *
 * It exits with 1 when something does not work. Numbers are from Linux: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/linux/vm_sockets.h.
 */
import * as Elf from "../../host/Elf.ts"

/** The machine code for x86-64 Linux, with the instructions that it is. Every jump is relative. */
export const listing = `
_start:
  48 89 e3               mov rbx, rsp                # argc, argv, envp
  8b 03                  mov eax, [rbx]
  83 f8 04               cmp eax, 4
  0f 82 8f 00 00 00      jb fail
  4c 8d 64 c3 10         lea r12, [rbx+rax*8+16]     # r12: the environment
  4c 8d 6b 20            lea r13, [rbx+32]           # r13: PROGRAM and its arguments
  48 8b 73 18            mov rsi, [rbx+24]           # the digits of PORT, to ebp
  31 ed                  xor ebp, ebp
digit:
  ac                     lodsb
  2c 30                  sub al, 0x30
  72 0a                  jb parsed
  0f b6 c0               movzx eax, al
  6b ed 0a               imul ebp, ebp, 10
  01 c5                  add ebp, eax
  eb f1                  jmp digit
parsed:
  48 c1 e5 20            shl rbp, 32
  48 83 c5 28            add rbp, 40                 # struct sockaddr_vm, first half: AF_VSOCK, and PORT
  48 8b 43 10            mov rax, [rbx+16]
  80 38 6c               cmp byte ptr [rax], 0x6c    # "l" of listen
  74 68                  je listen
  6a 02                  push 2                      # its second half: the host
  55                     push rbp
  6a 32                  push 50                     # where the first connection waits, out of the way of 3, 6 and 7
  5d                     pop rbp
dial:
  e8 db 00 00 00         call open
  6a 2a                  push 42                     # connect
  58                     pop rax
  0f 05                  syscall
  85 c0                  test eax, eax
  75 4c                  jnz fail
  89 ee                  mov esi, ebp
  ba 00 00 08 00         mov edx, 0x80000            # O_CLOEXEC
  b8 24 01 00 00         mov eax, 292                # dup3
  0f 05                  syscall
  6a 03                  push 3                      # close
  58                     pop rax
  0f 05                  syscall
  ff 44 24 04            inc dword ptr [rsp+4]       # the next port
  ff c5                  inc ebp
  83 fd 35               cmp ebp, 53
  75 d4                  jne dial
  6a 32                  push 50                     # the first is 3
  5f                     pop rdi
  6a 03                  push 3
  5e                     pop rsi
  e8 a3 00 00 00         call dup2
  ff c7                  inc edi                     # the second is 6
  6a 06                  push 6
  5e                     pop rsi
  e8 99 00 00 00         call dup2
  ff c7                  inc edi                     # the third is 7
  6a 07                  push 7
  5e                     pop rsi
  e8 8f 00 00 00         call dup2
exec:
  49 8b 7d 00            mov rdi, [r13]
  4c 89 ee               mov rsi, r13
  4c 89 e2               mov rdx, r12
  6a 3b                  push 59                     # execve
  58                     pop rax
  0f 05                  syscall
fail:
  6a 01                  push 1
  5f                     pop rdi
  6a 3c                  push 60                     # exit
  58                     pop rax
  0f 05                  syscall
listen:
  b8 ff ff ff ff         mov eax, 0xffffffff         # VMADDR_CID_ANY
  50                     push rax
  55                     push rbp
  e8 72 00 00 00         call open
  6a 31                  push 49                     # bind
  58                     pop rax
  0f 05                  syscall
  85 c0                  test eax, eax
  75 e3                  jnz fail
  6a 08                  push 8                      # how many may wait
  5e                     pop rsi
  6a 32                  push 50                     # listen
  58                     pop rax
  0f 05                  syscall
  85 c0                  test eax, eax
  75 d7                  jnz fail
  6a 00                  push 0                      # struct sigaction
  6a 00                  push 0
  6a 02                  push 2                      # SA_NOCLDWAIT, which execve takes back
  6a 00                  push 0
  6a 11                  push 17                     # SIGCHLD
  5f                     pop rdi
  48 89 e6               mov rsi, rsp
  31 d2                  xor edx, edx
  6a 08                  push 8
  41 5a                  pop r10
  6a 0d                  push 13                     # rt_sigaction
  58                     pop rax
  0f 05                  syscall
accept:
  89 df                  mov edi, ebx
  31 f6                  xor esi, esi
  31 d2                  xor edx, edx
  41 ba 00 00 08 00      mov r10d, 0x80000           # SOCK_CLOEXEC
  b8 20 01 00 00         mov eax, 288                # accept4
  0f 05                  syscall
  85 c0                  test eax, eax
  78 e9                  js accept
  89 c5                  mov ebp, eax
  6a 39                  push 57                     # fork
  58                     pop rax
  0f 05                  syscall
  89 ef                  mov edi, ebp
  85 c0                  test eax, eax
  74 07                  jz child
  6a 03                  push 3                      # close
  58                     pop rax
  0f 05                  syscall
  eb d5                  jmp accept
child:
  31 f6                  xor esi, esi                # its standard input
  e8 0c 00 00 00         call dup2
  ff c6                  inc esi                     # its standard output
  e8 05 00 00 00         call dup2
  e9 71 ff ff ff         jmp exec
dup2:
  6a 21                  push 33                     # dup2
  58                     pop rax
  0f 05                  syscall
  c3                     ret
open:
  6a 28                  push 40
  5f                     pop rdi
  be 01 00 08 00         mov esi, 0x80001            # SOCK_STREAM | SOCK_CLOEXEC
  31 d2                  xor edx, edx
  6a 29                  push 41                     # socket
  58                     pop rax
  0f 05                  syscall
  85 c0                  test eax, eax
  0f 88 63 ff ff ff      js fail
  89 c3                  mov ebx, eax                # for bind and connect; the address is below
  89 c7                  mov edi, eax
  48 8d 74 24 08         lea rsi, [rsp+8]
  6a 10                  push 16
  5a                     pop rdx
  c3                     ret
`

/** The bytes in front of each instruction. */
const code: ReadonlyArray<number> = listing
  .split("\n")
  .flatMap((line) => [...(/^ +((?:[0-9a-f]{2} )+)/.exec(line)?.[1] ?? "").matchAll(/[0-9a-f]{2}/g)])
  .map(([byte]) => Number.parseInt(byte, 16))

/** Where it is loaded: the whole file at once. */
const address = 0x400000

/** The program: an ELF executable with one segment. */
export const program: Uint8Array = Elf.executable(
  address + Elf.headerSize(1),
  [{ type: "load", flags: 5, offset: 0, address, size: Elf.headerSize(1) + code.length, alignment: 0x1000 }],
  code
)
