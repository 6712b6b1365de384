/*
 * A freestanding C program that knows nothing but GNU Mach's AArch64 user ABI: trap numbers, message layouts, message ids.
 *
 * Booted by QEMU's guest-loader as a bootstrap module, it shows that programs which were not written for this kernel run
 * on it. Deliberately it shares no header with the rest of the tree: the numbers are written down here a second time.
 */

typedef unsigned int u32;
typedef unsigned long u64;
typedef int i32;

/* --- traps -------------------------------------------------------------------------------------------------------- */

#define TRAP(name, number)                                                                                             \
    __asm__(".globl " #name "\n.type " #name ", %function\n" #name ":\n\tmov w8, #" #number "\n\tsvc #0\n\tret\n")

extern u32 mach_msg_trap(void *message, u32 option, u32 send_size, u32 receive_size, u32 receive_name, u32 timeout,
                         u32 notify);
extern u32 mach_reply_port(void);
extern u32 mach_task_self(void);
extern void mach_print(const char *text);
TRAP(mach_msg_trap, -25);
TRAP(mach_reply_port, -26);
TRAP(mach_task_self, -28);
TRAP(mach_print, -30);

/* The kernel enters with the stack pointer at argc. */
__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tbl begin\n\tb .\n");

/* --- messages ----------------------------------------------------------------------------------------------------- */

struct header {
    u32 bits, size;
    u64 remote, local; /* the name is in the low half */
    u32 sequence;
    i32 id;
};

struct type {
    u32 word, number;
};

enum {
    SEND = 1, RECEIVE = 2, RECEIVE_TIMEOUT = 0x100,
    MAKE_SEND = 20, COPY_SEND = 19, MAKE_SEND_ONCE = 21,
    RIGHT_RECEIVE = 1, TASK_KERNEL_PORT = 1, THREAD_STATE = 1, THREAD_STATE_COUNT = 70, RB_HALT = 8,
};

static const struct type INT32 = {0x20002002, 1}, INT64 = {0x2000400b, 1}, BOOLEAN = {0x20002000, 1};
static const u32 PORT_NAME_WORD = 0x2000200f, RIGHT_WORD = 0x20004000;

/* A reply: the return code, and one result behind it. */
struct reply {
    struct header header;
    struct type code_type;
    i32 code, pad;
    struct type result_type;
    u64 result;
    u64 trailer[2];
};

union buffer {
    struct header header;
    struct reply reply;
    unsigned char bytes[512];
};

static u32 reply_port;

_Static_assert(sizeof(struct header) == 32, "the header is 32 bytes");
_Static_assert(__builtin_offsetof(struct reply, code) == 40, "the return code is at 40");
_Static_assert(__builtin_offsetof(struct reply, result) == 56, "the first result is at 56");

/* Sends the request in the buffer and receives the reply into it; the kernel's return code, or the trap's. */
static i32 rpc(union buffer *buffer, u32 port, i32 id, u32 size)
{
    buffer->header.bits = COPY_SEND | MAKE_SEND_ONCE << 8;
    buffer->header.size = size;
    buffer->header.remote = port;
    buffer->header.local = reply_port;
    buffer->header.sequence = 0;
    buffer->header.id = id;
    u32 result = mach_msg_trap(buffer, SEND | RECEIVE, size, sizeof *buffer, reply_port, 0, 0);
    if (result != 0)
        return (i32)result;
    if (buffer->header.id != id + 100 || buffer->header.size < 48)
        return -1;
    return buffer->reply.code;
}

/* A request with one 32-bit argument. */
struct request_int {
    struct header header;
    struct type type;
    i32 value, pad;
};

static i32 rpc_int(union buffer *buffer, u32 port, i32 id, i32 value)
{
    struct request_int *request = (struct request_int *)buffer;
    request->type = INT32;
    request->value = value;
    request->pad = 0;
    return rpc(buffer, port, id, sizeof *request);
}

/* --- what is tested ----------------------------------------------------------------------------------------------- */

static int failures;

static void check(const char *name, int good)
{
    mach_print("@test c-");
    mach_print(name);
    mach_print(good ? " ok\n" : " FAILED\n");
    failures += !good;
}

struct request_allocate {
    struct header header;
    struct type address_type;
    u64 address;
    struct type size_type;
    u64 size;
    struct type anywhere_type;
    i32 anywhere, pad;
};

static u64 allocate(u32 task, u64 size)
{
    union buffer buffer;
    struct request_allocate *request = (struct request_allocate *)&buffer;
    request->address_type = INT64;
    request->address = 0;
    request->size_type = INT64;
    request->size = size;
    request->anywhere_type = BOOLEAN;
    request->anywhere = 1;
    request->pad = 0;
    return rpc(&buffer, task, 2021, sizeof *request) == 0 ? buffer.reply.result : 0;
}

static int zero_and_writable(u64 address, u64 size)
{
    volatile u64 *words = (volatile u64 *)address;
    for (u64 index = 0; index < size / 8; index++) {
        if (words[index] != 0)
            return 0;
        words[index] = index ^ address;
    }
    for (u64 index = 0; index < size / 8; index++)
        if (words[index] != (index ^ address))
            return 0;
    return 1;
}

struct note {
    struct header header;
    struct type type;
    u64 value;
    u64 trailer[2];
};

static const u64 NOTE_VALUE = 0x1122334455667788;
static const i32 NOTE_ID = 4242;

/* The second thread: one message to the first, then nothing. */
__attribute__((noreturn)) static void second_thread(u64 port)
{
    struct note note = {{MAKE_SEND, 48, port, 0, 0, NOTE_ID}, INT64, NOTE_VALUE, {0, 0}};
    mach_msg_trap(&note, SEND, 48, 0, 0, 0, 0);
    u32 never = mach_reply_port();
    for (;;)
        mach_msg_trap(&note, RECEIVE, 0, sizeof note, never, 0, 0);
}

struct request_state {
    struct header header;
    struct type flavor_type;
    i32 flavor, pad;
    struct type state_type;
    u64 x[31], sp, pc, tpidr;
};

_Static_assert(sizeof(struct request_state) == 56 + 272, "registers up to tpidr_el0");

static int start_thread(u32 task, u64 stack_top, u64 argument)
{
    union buffer buffer;
    if (rpc(&buffer, task, 2061, 32) != 0 || (buffer.reply.result_type.word & 0xffffff00) != RIGHT_WORD)
        return 0;
    u32 thread = (u32)buffer.reply.result;
    for (u32 index = 0; index < sizeof buffer; index++)
        ((volatile unsigned char *)&buffer)[index] = 0;
    struct request_state *request = (struct request_state *)&buffer;
    request->flavor_type = INT32;
    request->flavor = THREAD_STATE;
    request->state_type = INT32;
    request->state_type.number = THREAD_STATE_COUNT;
    request->x[0] = argument;
    request->sp = stack_top;
    request->pc = (u64)second_thread;
    /* cpsr, zero, lies behind tpidr and ends the message. */
    if (rpc(&buffer, thread, 2018, sizeof *request + 8) != 0)
        return 0;
    return rpc(&buffer, thread, 2063, 32) == 0;
}

static int receive_note(u32 port)
{
    struct note note;
    u32 result = mach_msg_trap(&note, RECEIVE | RECEIVE_TIMEOUT, 0, sizeof note, port, 10000, 0);
    return result == 0 && note.header.id == NOTE_ID && note.header.size == 48 && note.value == NOTE_VALUE;
}

static u32 decimal(const char *text)
{
    u32 number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (u32)(*text - '0');
    return number;
}

__attribute__((used)) void begin(const u64 *stack)
{
    u64 argc = stack[0];
    const char *const *argv = (const char *const *)(stack + 1);
    union buffer buffer;

    mach_print("a C program that only knows the ABI\n");
    check("arguments", argc == 3 && argv[3] == 0 && decimal(argv[1]) != 0 && decimal(argv[2]) != 0);

    u32 task = mach_task_self();
    reply_port = mach_reply_port();
    check("reply-port", task != 0 && reply_port != 0 && task != reply_port);

    i32 code = rpc_int(&buffer, task, 3204, RIGHT_RECEIVE);
    u32 port = (u32)buffer.reply.result;
    check("port-allocate", code == 0 && buffer.reply.result_type.word == PORT_NAME_WORD && port != 0);

    code = rpc_int(&buffer, task, 2058, TASK_KERNEL_PORT);
    check("task-get-special-port", code == 0 && (buffer.header.bits & 0x80000000) && (u32)buffer.reply.result == task);

    code = rpc(&buffer, task, 2999, 32);
    check("unknown-message", code == -303);

    const u64 size = 64 * 4096;
    u64 memory = allocate(task, size);
    check("vm-allocate", memory != 0 && zero_and_writable(memory, size));

    u64 thread_stack = allocate(task, size);
    check("second-thread", thread_stack != 0 && start_thread(task, thread_stack + size, port));
    check("message-between-threads", receive_note(port));

    mach_print(failures == 0 ? "@verdict ok\n" : "@verdict FAILED a C program found differences\n");
    rpc_int(&buffer, argc > 1 ? decimal(argv[1]) : 0, 2635, RB_HALT);
    mach_print("host_reboot came back\n");
}
