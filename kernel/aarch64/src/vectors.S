// The exception vectors and the way to EL0 and back.
//
// `run_user` is an ordinary function that happens to return when EL0 takes an exception: it leaves the callee-saved registers
// and the thread's state pointer on the kernel stack, and the vectors for EL0 put the thread's registers into the state and
// return from it. SP_EL1 stays where run_user left it while EL0 runs.

// ThreadState: x0-x30 at 0, then sp, pc, tpidr_el0, cpsr.
.equ STATE_SP, 248
.equ STATE_PC, 256
.equ STATE_TPIDR, 264
.equ STATE_CPSR, 272

// What run_user keeps on the stack: x19-x30, the state pointer.
.equ FRAME, 112
.equ FRAME_STATE, 96

// A kernel stack is the upper half of a block of 64 KiB: a valid sp below the top has this bit.
.equ STACK_BIT, 15

// What an exception of the kernel leaves on its stack: x0-x30, sp, elr, spsr.
.equ TRAP_FRAME, 288

.section .text.user, "ax"

// extern "C" fn run_user(state: *mut ThreadState) -> u64: 0 synchronous, 1 interrupt, 2 SError.
.global run_user
run_user:
    sub sp, sp, #FRAME
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    str x0, [sp, #FRAME_STATE]
    ldp x1, x2, [x0, #STATE_SP]
    ldp x3, x4, [x0, #STATE_TPIDR]
    msr sp_el0, x1
    msr elr_el1, x2
    msr tpidr_el0, x3
    msr spsr_el1, x4
    ldp x2, x3, [x0, #16]
    ldp x4, x5, [x0, #32]
    ldp x6, x7, [x0, #48]
    ldp x8, x9, [x0, #64]
    ldp x10, x11, [x0, #80]
    ldp x12, x13, [x0, #96]
    ldp x14, x15, [x0, #112]
    ldp x16, x17, [x0, #128]
    ldp x18, x19, [x0, #144]
    ldp x20, x21, [x0, #160]
    ldp x22, x23, [x0, #176]
    ldp x24, x25, [x0, #192]
    ldp x26, x27, [x0, #208]
    ldp x28, x29, [x0, #224]
    ldr x30, [x0, #240]
    ldp x0, x1, [x0, #0]
    eret

// From a vector of EL0: x0 and x1 of the thread are on the stack, x1 is the kind.
leave_user:
    ldr x0, [sp, #(16 + FRAME_STATE)]
    stp x2, x3, [x0, #16]
    stp x4, x5, [x0, #32]
    stp x6, x7, [x0, #48]
    stp x8, x9, [x0, #64]
    stp x10, x11, [x0, #80]
    stp x12, x13, [x0, #96]
    stp x14, x15, [x0, #112]
    stp x16, x17, [x0, #128]
    stp x18, x19, [x0, #144]
    stp x20, x21, [x0, #160]
    stp x22, x23, [x0, #176]
    stp x24, x25, [x0, #192]
    stp x26, x27, [x0, #208]
    stp x28, x29, [x0, #224]
    str x30, [x0, #240]
    ldp x2, x3, [sp], #16
    stp x2, x3, [x0, #0]
    mrs x2, sp_el0
    mrs x3, elr_el1
    stp x2, x3, [x0, #STATE_SP]
    mrs x2, tpidr_el0
    mrs x3, spsr_el1
    stp x2, x3, [x0, #STATE_TPIDR]
    mov x0, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    add sp, sp, #FRAME
    ret

.macro from_user kind
    .balign 128
    stp x0, x1, [sp, #-16]!
    mov x1, #\kind
    b leave_user
.endm

// Kernel: checks that the stack is one, keeps the registers, calls kernel_exception(frame, kind).
.macro from_kernel kind
    .balign 128
    sub sp, sp, #TRAP_FRAME
    // sp = sp + x0; x0 = sp - x0: tests a bit of the old sp without a free register, and undoes it.
    add sp, sp, x0
    sub x0, sp, x0
    tbz x0, #STACK_BIT, 1f
    sub x0, sp, x0
    sub sp, sp, x0
    stp x0, x1, [sp, #0]
    mov x1, #\kind
    b keep_kernel
1:  mov x1, #\kind
    b stack_overflow
.endm

// An exception with SP_EL0 in use: the kernel never does that.
.macro impossible
    .balign 128
    mov x1, #3
    b stack_overflow
.endm

.section .text.vectors, "ax"
.balign 2048
.global vectors
vectors:
    impossible
    impossible
    impossible
    impossible
    from_kernel 0
    from_kernel 1
    from_kernel 1
    from_kernel 2
    from_user 0
    from_user 1
    from_user 1
    from_user 2
    impossible                  // AArch32 at EL0 is never entered
    impossible
    impossible
    impossible

keep_kernel:
    stp x2, x3, [sp, #16]
    stp x4, x5, [sp, #32]
    stp x6, x7, [sp, #48]
    stp x8, x9, [sp, #64]
    stp x10, x11, [sp, #80]
    stp x12, x13, [sp, #96]
    stp x14, x15, [sp, #112]
    stp x16, x17, [sp, #128]
    stp x18, x19, [sp, #144]
    stp x20, x21, [sp, #160]
    stp x22, x23, [sp, #176]
    stp x24, x25, [sp, #192]
    stp x26, x27, [sp, #208]
    stp x28, x29, [sp, #224]
    add x2, sp, #TRAP_FRAME
    stp x30, x2, [sp, #240]
    mrs x2, elr_el1
    mrs x3, spsr_el1
    stp x2, x3, [sp, #256]
    mov x0, sp
    bl kernel_exception
    // Only an access to user memory that faulted gets here: elr has been moved to its fixup, which clobbers what a call may.
    ldr x2, [sp, #256]
    msr elr_el1, x2
    ldp x29, x30, [sp, #232]
    ldp x19, x20, [sp, #152]
    ldp x21, x22, [sp, #168]
    ldp x23, x24, [sp, #184]
    ldp x25, x26, [sp, #200]
    ldp x27, x28, [sp, #216]
    add sp, sp, #TRAP_FRAME
    eret

// The stack is gone: take the boot stack, which nobody needs any more, and say so.
stack_overflow:
    ldr x2, =boot_stack_top
    mov sp, x2
    mov x29, xzr
    mov x0, x1
    bl kernel_stack_lost
