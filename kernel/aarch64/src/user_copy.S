// Copies between the kernel and EL0's memory, with EL0's rights.
//
// LDTR and STTR are checked as if EL0 did them, whatever address they get: a kernel address, one without a mapping and one that
// the thread may not write all fault, and PAN need not be lifted. A fault between user_copy_start and user_copy_end ends the copy:
// kernel_exception sends it to user_copy_fixup.

.section .text.user_copy, "ax"
.global user_copy_start
user_copy_start:

// extern "C" fn copy_from_user(to: *mut u8, from: u64, bytes: usize) -> u64: 0, or 1 after a fault.
.global copy_from_user
copy_from_user:
    cmp x2, #64
    b.lo 2f
1:  ldtr x4, [x1, #0]
    ldtr x5, [x1, #8]
    ldtr x6, [x1, #16]
    ldtr x7, [x1, #24]
    ldtr x8, [x1, #32]
    ldtr x9, [x1, #40]
    ldtr x10, [x1, #48]
    ldtr x11, [x1, #56]
    stp x4, x5, [x0, #0]
    stp x6, x7, [x0, #16]
    stp x8, x9, [x0, #32]
    stp x10, x11, [x0, #48]
    add x1, x1, #64
    add x0, x0, #64
    sub x2, x2, #64
    cmp x2, #64
    b.hs 1b
2:  cmp x2, #8
    b.lo 4f
3:  ldtr x4, [x1]
    str x4, [x0], #8
    add x1, x1, #8
    sub x2, x2, #8
    cmp x2, #8
    b.hs 3b
4:  cbz x2, 6f
5:  ldtrb w4, [x1]
    strb w4, [x0], #1
    add x1, x1, #1
    subs x2, x2, #1
    b.ne 5b
6:  mov x0, xzr
    ret

// extern "C" fn copy_to_user(to: u64, from: *const u8, bytes: usize) -> u64: 0, or 1 after a fault.
.global copy_to_user
copy_to_user:
    cmp x2, #64
    b.lo 2f
1:  ldp x4, x5, [x1, #0]
    ldp x6, x7, [x1, #16]
    ldp x8, x9, [x1, #32]
    ldp x10, x11, [x1, #48]
    sttr x4, [x0, #0]
    sttr x5, [x0, #8]
    sttr x6, [x0, #16]
    sttr x7, [x0, #24]
    sttr x8, [x0, #32]
    sttr x9, [x0, #40]
    sttr x10, [x0, #48]
    sttr x11, [x0, #56]
    add x1, x1, #64
    add x0, x0, #64
    sub x2, x2, #64
    cmp x2, #64
    b.hs 1b
2:  cmp x2, #8
    b.lo 4f
3:  ldr x4, [x1], #8
    sttr x4, [x0]
    add x0, x0, #8
    sub x2, x2, #8
    cmp x2, #8
    b.hs 3b
4:  cbz x2, 6f
5:  ldrb w4, [x1], #1
    sttrb w4, [x0]
    add x0, x0, #1
    subs x2, x2, #1
    b.ne 5b
6:  mov x0, xzr
    ret

.global user_copy_end
user_copy_end:
.global user_copy_fixup
user_copy_fixup:
    mov x0, #1
    ret
