# What a guest that goes on from a saved one runs to be itself, for x86-64 Linux without any library.
#
#   renew [old new]… <block      block: struct timespec, struct rand_pool_info with 64 bytes of entropy
#
# Sets the clock, stirs the entropy into the kernel's pool and has its generator start again from there; then gives each "old"
# the name "new", and leaves a link in its place. Exit status: 1 no block, 2 clock, 4 entropy, 8 generator, 16 names, or a
# sum of these.
#
# The bytes are in renew.ts:  as renew.s -o renew.o && objcopy -O binary -j .text renew.o renew.bin && base64 -w0 renew.bin
.intel_syntax noprefix
.globl _start
_start:
  mov  rbx, rsp              # argc, argv[0], argv[1], …
  sub  rsp, 96
  mov  r12, rsp              # 16 bytes of time, 8 of sizes, 64 of entropy
  xor  r13d, r13d            # exit status
  xor  edi, edi
  mov  rsi, r12
  mov  edx, 88
  xor  eax, eax              # read(0, block, 88)
  syscall
  cmp  eax, 88
  je   1f
  or   r13b, 1
  jmp  9f
1:
  mov  eax, 227              # clock_settime(CLOCK_REALTIME, block)
  xor  edi, edi
  mov  rsi, r12
  syscall
  test eax, eax
  je   2f
  or   r13b, 2
2:
  mov  eax, 2                # open("/dev/random", O_RDWR)
  lea  rdi, [rip + path]
  mov  esi, 2
  xor  edx, edx
  syscall
  mov  ebp, eax
  mov  edi, eax
  mov  eax, 16               # ioctl(fd, RNDADDENTROPY, block + 16)
  mov  esi, 0x40085203
  lea  rdx, [r12 + 16]
  syscall
  test eax, eax
  je   3f
  or   r13b, 4
3:
  mov  edi, ebp
  mov  eax, 16               # ioctl(fd, RNDRESEEDCRNG)
  mov  esi, 0x5207
  xor  edx, edx
  syscall
  test eax, eax
  je   4f
  or   r13b, 8
4:
  mov  rdi, [rbx + 16]       # pairs of arguments
  test rdi, rdi
  je   9f
  mov  rsi, [rbx + 24]
  test rsi, rsi
  je   9f
  mov  eax, 82               # rename(old, new)
  syscall
  test eax, eax
  je   5f
  or   r13b, 16
5:
  mov  rdi, [rbx + 24]
  mov  rsi, [rbx + 16]
  mov  eax, 88               # symlink(new, old)
  syscall
  add  rbx, 16
  jmp  4b
9:
  mov  edi, r13d
  mov  eax, 60               # exit(status)
  syscall
path: .asciz "/dev/random"
