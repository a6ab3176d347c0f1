/* A region on its way to a Wasm function: what the rooms that emit share. */
#ifndef HARTWELL_JIT_EMIT_H
#define HARTWELL_JIT_EMIT_H

#include "jit/jit.h"
#include "jit/region.h"
#include "jit/wasm.h"

/* Locals.  Parameters are the hart, the depth that is left for calls, the va
 * of the entry's page, and the fuel, which an exit leaves in Hart.jit_fuel.
 * Registers follow, as far as the region uses them. */
enum {
    L_HART, L_DEPTH, L_BASE, L_FUEL,
    L_EXIT, L_READ, L_JUMP, L_FPKNOWN, L_FPOK, /* i32; READ: the TLB's table of reads, that of writes lies behind it */
    L_PLACE = L_JUMP, /* of an access that looks by itself */
    L_FRAME = L_FPOK + 1, /* where the frames lie in the whole memory; 0: not known */
    L_HOST, /* GROUP_HOSTS of them */
    L_PC = L_HOST + 6, L_VA, L_D, L_WORD, L_LIMIT,   /* i64 */
    L_REGISTERS,
};
#define I32_LOCALS (L_PC - L_EXIT)
#define I64_LOCALS (L_REGISTERS - L_PC)
#define F64_TEMPS 3

/* Types of a module. */
enum { TYPE_REGION, TYPE_HELPER, TYPE_FP_HELPER };

/* Ways out. */
enum {
    EXIT_SLOW, /* L_EXIT = offset in window | instructions done << 16: the interpreter goes on there */
    EXIT_JUMP, /* L_PC: to another region if there is one */
    EXIT_RETURN, /* L_PC: to the caller, if that is where it leads */
};

struct Stub {
    RegSet stores;
    uint8_t kind;
};

#define GROUP_HOSTS (L_PC - L_HOST)
#define GROUPS 24

/* Accesses of a block by one value, with offsets that are known: one look at
 * the TLB serves all, if they lie in one page. */
struct Group {
    uint16_t first;    /* instruction of the block, turn by turn */
    uint16_t count;
    uint16_t value;    /* a register as the block found it, or VALUES_MADE + the instruction that made it */
    int32_t low, high; /* offsets from the value: from, up to */
    bool store;
    bool loaded;       /* the value comes from memory */
    bool ahead;        /* looked up at the block's begin */
    bool indexed;      /* they are anywhere between low and high: ahead or not at all */
    bool crosses;      /* lay in two pages too often: then each access looks by itself, the host address being 0 */
    bool framed;       /* in the region's frames, */
    int32_t behind;    /* so far from their first byte */
    uint8_t host;      /* local with the host address of `low`; 0: each access looks by itself */
    uint8_t page;      /* the remembered page, number + 1; 0: none */
};
#define VALUES_MADE 32

/* A page that a group's accesses in a loop go to: locals with its address and
 * its host address, and, if it may change within a turn, with how far into it
 * the group may begin, 0 as long as it isn't known. */
struct Page {
    uint32_t key; /* the group's first | block << 16 */
    uint8_t address, host, room;
    uint16_t span; /* of the longest group that goes there: for all of them there is room, or for none */
};
#define PAGES 12
#define LOOPS 12
#define PAGE_SPAN 128 /* what is looked up by one look, at most */

/* A run of instructions whose results of floating point nobody asked for yet (jit/later.c). */
#define LATER_KEPT 6
struct Later {
    bool allowed, on;
    bool summed, odd, collected; /* locals hold results */
    uint16_t from;               /* its first instruction, turn by turn */
    uint16_t room;               /* instructions that may be emitted once more */
    uint16_t results;
    uint32_t open;               /* f registers with results of which nothing was computed */
    uint32_t bounded;            /* those that are collected: 2^-511 or more, or the run is done again */
    RegSet read, written;        /* what it found in registers and read; what it wrote */
    uint8_t kept[2][LATER_KEPT], kept_count[2]; /* of x and f registers, what it found in them is in locals */
};

/* An access of a table whose index the block makes: by which step, and by how much it is shifted. */
#define INDEXES 4
struct Index {
    uint16_t made; /* + 1; 0: not such a one */
    uint8_t shift, base;
};

/* What a loop's strip is counted by (jit/strip.c): while `relation` holds
 * between x + x_by and y + y_by, which come closer by so much a turn. */
struct Strip {
    bool possible, counted;
    bool kept;        /* without what jit/pace.c looks up, too */
    bool words;       /* additions of words move them */
    uint8_t x, y, relation;
    uint8_t step;     /* a register that is added to x or y in each turn, in place of `closer`, which has its sign; 0: none */
    bool x_stepped, y_stepped; /* once before the branch */
    int32_t x_by, y_by, closer;
};
/* An access of a strip's turn at base + (index << shift) + offset, the index
 * being what the turns are counted by (jit/pace.c). */
#define PACED 4
struct Paced {
    uint16_t k; /* instruction of the block */
    uint8_t base, shift, host, bytes;
    bool store, stepped;
    int32_t by, offset; /* of the index, of the address */
};
/* How a group's addresses go on from one of its bodies to the next: in which
 * group's page, by how much, and from where up to where from its value, with
 * those that come to follow it. */
struct Stream {
    uint8_t page;
    int32_t by, low, high;
};

/* A register that a strip's turn moves by more than a page is kept for (jit/pace.c). */
#define FAR 3
struct Far {
    uint8_t value;
    bool store;
    int32_t by, low, high; /* in a turn; what is accessed, from the register up to */
};
#define STRIP_LOCALS (7 + GROUP_HOSTS + INDEXES + FAR)

/* What a strip moves by wide accesses (jit/wide.c). */
enum { WIDE_COPY, WIDE_MERGE, WIDE_FILL };
struct WideRun { /* stores that are done at once */
    uint8_t kind, bytes;
    uint16_t first, count; /* of Wide.store */
    uint16_t store;        /* step: the one at the lowest address */
    uint8_t from;          /* group that loads are of, */
    int32_t load;          /* and the lowest one's distance from its value */
};
struct WideApart { /* where the values of these groups may not lie: the store's more than low, less than high behind the load's */
    uint8_t load, store;
    int32_t low, high;
};
#define WIDE_RUNS 60
#define WIDE_APART 12
#define FROM_ELSEWHERE 0x4000 /* + a register: what the body finds in it, in place of a step */
struct Wide {
    bool possible;
    uint8_t right, left; /* registers that words are shifted by, to be merged; 0: none */
    uint16_t steps, stores;
    uint32_t begun;      /* registers that a body reads as it finds them, */
    uint32_t wanted;     /* those that it needs so for more than wide accesses */
    uint16_t last[32];   /* steps that write them last */
    uint16_t made[REGION_INSNS][2]; /* steps that made what a step reads, lower register first */
    uint16_t store[REGION_INSNS];
    bool barred[REGION_INSNS];      /* stores that no run begins with */
    uint8_t at[REGION_INSNS];
    struct WideRun run[WIDE_RUNS];
    struct WideApart apart[WIDE_APART];
    uint32_t run_count, apart_count;
};

#define MOST_OWED 400 /* with a block's, less than an exit has bits for */
#define STUBS 40
#define HINTS 200
#define LABELS 600
#define LABEL_NONE 0xff

struct Emit {
    struct Bytes out;
    struct Region *r;
    uint8_t label[LABELS]; /* open blocks, outermost first: which block of the region they lead to */
    uint32_t depth;
    struct Stub stubs[STUBS];
    uint32_t stub_count;
    uint32_t number;
    uint8_t *start;          /* of the function's body */
    uint16_t *hints;         /* offsets of branches that are seldom taken, HINTS at most */
    uint32_t hint_count;
    uint8_t local[REGISTERS];
    uint32_t float_temp;
    const struct JitBlock *block;
    struct Group groups[GROUPS];
    uint32_t group_count;
    uint8_t group_of[REGION_INSNS]; /* of the block's instructions, turn by turn; GROUPS: none */
    int32_t offset_of[REGION_INSNS]; /* of an access from its group's value */
    struct Index index_of[REGION_INSNS];
    uint8_t index_slot[REGION_INSNS];  /* + 1; which local a step's result is kept in, as an index */
    uint16_t index_made[INDEXES];      /* + 1: the step whose result that is where code is emitted now */
    uint32_t index_local;
    struct Page pages[PAGES];
    uint32_t page_count;
    uint8_t loop_at[LOOPS], loop_ready[LOOPS]; /* loops that may look ahead: first block, local that says whether it can */
    uint32_t loop_count;
    uint32_t turns; /* depth of the loop that begin_turns() opened */
    uint32_t ready; /* that loop's local */
    int16_t frames[REGION_BLOCKS][32];  /* at a block's begin: registers' distances from the entry's sp */
    bool frames_sought[REGION_BLOCKS];  /* L_FRAME was looked for */
    bool framed, frame_store, sought;   /* the last: where code is emitted now */
    int32_t frame_low, frame_high;      /* what is looked for, from the entry's sp */
    struct Strip strip;
    struct Paced paced[PACED];
    uint32_t paced_count;
    struct Far far[FAR];
    uint32_t far_count;
    bool pacing; /* code of a strip is being emitted */
    struct Stream streams[GROUPS];
    uint32_t strip_local; /* where its fuel ends, and what makes host addresses, a group each */
    uint32_t wide_shift;  /* local: bytes that merged words are shifted by */
    uint32_t wide_limit;  /* local: while there is more fuel, bodies are wide */
    struct Wide wide;
    bool surely_back;     /* in a strip whose turns are counted: branches need not be looked at */
    bool turns_fp;  /* what its first block does is floating point, too */
    uint32_t k;     /* instruction of the block that is being emitted */
    uint32_t turn;  /* which time, where the loop is unrolled */
    uint32_t owed;  /* instructions of the blocks before that the fuel doesn't know of yet */
    RegSet valid;   /* registers whose locals hold their values */
    uint32_t fp_known; /* in this block: FP_* */
    struct Later later;
    uint32_t later_local;
    bool later_planned; /* some loop may do so */
};

/* Instructions done since the fuel was last counted down. */
static inline uint32_t done(const struct Emit *e) { return e->owed + e->turn * e->block->count + e->k; }

/* The instruction's number among all that the block does, turn by turn. */
static inline uint32_t step(const struct Emit *e) { return e->turn * e->block->count + e->k; }

static inline void op(struct Emit *e, uint32_t code) { put(&e->out, code); }
static inline void op_u(struct Emit *e, uint32_t code, uint32_t operand)
{
    put(&e->out, code);
    put_u(&e->out, operand);
}
static inline void get(struct Emit *e, uint32_t local) { op_u(e, W_GET, local); }
static inline void set(struct Emit *e, uint32_t local) { op_u(e, W_SET, local); }
static inline void tee(struct Emit *e, uint32_t local) { op_u(e, W_TEE, local); }
static inline void push32(struct Emit *e, uint32_t value)
{
    put(&e->out, W_I32_CONST);
    put_s(&e->out, (int32_t)value);
}
static inline void push64(struct Emit *e, uint64_t value)
{
    put(&e->out, W_I64_CONST);
    put_s(&e->out, (int64_t)value);
}
static inline void access(struct Emit *e, uint32_t code, uint32_t align, uint32_t offset)
{
    put(&e->out, code);
    put_u(&e->out, align);
    put_u(&e->out, offset);
}
/* Of guest RAM, by offsets in it (ram_byte); atomics take no displacement of their own. */
static inline void access_ram(struct Emit *e, uint32_t code, uint32_t align, uint32_t offset)
{
    access(e, code, align, RAM_OFFSET + offset);
}
static inline void atomic_ram(struct Emit *e, uint32_t code, uint32_t align)
{
    put(&e->out, W_ATOMIC);
    access_ram(e, code, align, 0);
}

/* A field of struct Hart. */
#define LOAD_HART(e, code, align, field) (get(e, L_HART), access(e, code, align, (uint32_t)offsetof(struct Hart, field)))
#define STORE_HART(e, code, align, field) access(e, code, align, (uint32_t)offsetof(struct Hart, field))

void open(struct Emit *e, uint32_t code, uint32_t label); /* block, loop or if */
void close(struct Emit *e);
uint32_t depth_of(struct Emit *e, uint32_t block); /* labels between here and the block's */
void branch_to(struct Emit *e, uint32_t code, uint32_t block); /* W_BR or W_BR_IF */
void spend(struct Emit *e, uint32_t instructions); /* of the fuel, at the latest by settle() */
void settle(struct Emit *e);
void emit_tree(struct Emit *e, uint32_t block); /* a block with all that it dominates */

uint32_t emit_next(struct Emit *e, const struct JitBlock *b); /* how many instructions it took */

void emit_insns(struct Emit *e, const struct JitBlock *b, uint32_t fp_known, uint32_t turns);
void emit_between(struct Emit *e, const struct JitBlock *b); /* two turns of an unrolled loop */

/* jit/motion.c */
void plan_strip(struct Emit *e, const struct JitBlock *b); /* behind plan_turns() */

/* jit/strip.c */
void emit_strip(struct Emit *e, const struct JitBlock *b); /* inside of look_ahead()'s blocks, where the next turn begins */

void at_most(struct Emit *e, uint32_t local); /* it is the i32 on the stack if that is less */
void divide(struct Emit *e, uint32_t by);
void push_step(struct Emit *e); /* i32: by how much what its turns are counted by moves in one */

/* jit/pace.c */
void plan_paced(struct Emit *e, const struct JitBlock *b); /* of a strip whose turns are counted */
/* At the strip's head: the accesses' host addresses; no more than the local `most` says are the steps
 * for which they stay in their pages; out of the innermost block if they can't be done. */
void look_up_paced(struct Emit *e, uint32_t most);
void note_far(struct Emit *e, uint32_t k, int32_t by); /* an access of a strip, whose group's value moves so in a turn */
/* Around them: out of the innermost block if no pages in a row were found of late; now some were. */
void begin_far(struct Emit *e);
void end_far(struct Emit *e);
void look_up_far(struct Emit *e, uint32_t turns); /* as look_up_paced(): L_PLACE is no more than how often the turns stay in such memory */
bool placed(const struct Emit *e); /* push_paced() would do so */
bool push_paced(struct Emit *e, const struct JitInsn *n); /* the host address for the instruction's access, if it is such a one */

/* jit/wide.c */
void plan_wide(struct Emit *e, const struct JitBlock *b); /* of a strip whose turns are counted */
void check_wide(struct Emit *e); /* at its head: out of the innermost block if it can't be done */
void emit_wide(struct Emit *e, const struct JitBlock *b); /* a body of it */

/* jit/end.c */
void emit_again(struct Emit *e, const struct JitBlock *b); /* back to the loop's head */
void emit_last(struct Emit *e, const struct JitBlock *b);  /* back or out of the loop, by the branch at its end */
void emit_end(struct Emit *e, const struct JitBlock *b);
/* Out of the loop by edge k, if the branch n says so, after so many instructions of it. */
void emit_way_out(struct Emit *e, const struct JitBlock *b, const struct JitInsn *n, uint32_t k, bool out_if, uint32_t done);

/* jit/emit.c */

void push_x(struct Emit *e, uint32_t r);
void set_x(struct Emit *e, uint32_t r); /* 32: dropped */
void push_f_bits(struct Emit *e, uint32_t f);
void set_f_bits(struct Emit *e, uint32_t f);
void push_pc(struct Emit *e);

/* jit/exit.c */
void push_window(struct Emit *e, int32_t at); /* the address of a place in the window */
void load_registers(struct Emit *e, RegSet set_of);
void store_registers(struct Emit *e, RegSet set_of);
void store_fuel(struct Emit *e);
void push_poll(struct Emit *e);       /* i32: not 0 when the hart is to look up */
void return_pc_if(struct Emit *e);    /* gives back L_PC where the i32 on the stack isn't 0 */
void leave_for_pc_if(struct Emit *e); /* the same, and stores the fuel */
void find_jump(struct Emit *e);       /* L_JUMP = the jump cache's entry for L_PC, or gives that back */
void push_callee(struct Emit *e);     /* L_JUMP's region: its base parameter, its slot */
void leave_by(struct Emit *e, uint32_t kind, RegSet dirty); /* EXIT_* */
void emit_stub(struct Emit *e, const struct Stub *stub);

/* Leaves before instruction k of the block, for the interpreter to do it. */
void exit_slow(struct Emit *e);
/* The same, because a group's span crosses a page. */
void exit_slow_crossing(struct Emit *e);
/* The same when the i32 on the stack isn't 0. */
void exit_slow_if(struct Emit *e);

/* jit/insn.c: an instruction that doesn't end its block. */
void emit_insn(struct Emit *e, const struct JitInsn *n);
bool emit_zero_extension(struct Emit *e, const struct JitInsn *n); /* n and its successor, if together they are one */
bool emit_rotation(struct Emit *e, const struct JitInsn *n);
void emit_condition(struct Emit *e, const struct JitInsn *n);

/* jit/plan.c */
void plan_pages(struct Emit *e);
void plan_groups(struct Emit *e, const struct JitBlock *b);

/* jit/frame.c */
void plan_frames(struct Emit *e);
void plan_framed(struct Emit *e, const struct JitBlock *b); /* which of the block's groups are in the frames */
void seek_frames(struct Emit *e, const struct Group *g, const struct JitInsn *n);
void forget_frames(struct Emit *e);

/* jit/group.c */
void push_sum(struct Emit *e, uint32_t r, int32_t offset);
void push_crossing(struct Emit *e, uint32_t bytes); /* i32: so many from L_VA on are not in one page */
void forget_pages(struct Emit *e); /* after a call, or where the tables of the TLB may be others */
/* A loop's first block may look up what it can at its begin, in pages that
 * don't change while it turns: begin_turns() opens a loop around it, to which
 * a turn goes that isn't in them, when they have become others; the same with
 * how floating point is to be done.  look_ahead() opens blocks for the
 * instructions; behind the one that end_ahead() closes, they are done the hard
 * way, each access looked up by itself; the last is the caller's to close. */
bool plan_turns(struct Emit *e, const struct JitBlock *b); /* is there anything to be gained? */
void begin_turns(struct Emit *e);
void look_ahead(struct Emit *e);
void end_ahead(struct Emit *e);
/* An index that an access is looked up by stays 32 bits wide in a local of its own: to be called around the step that makes it. */
void keep_index(struct Emit *e, const struct JitInsn *n, bool behind);
/* Pushes the host address for an access; its distance from that is the result. */
uint32_t push_place(struct Emit *e, const struct JitInsn *n, bool store, uint32_t bytes);

/* jit/memory.c */
void find_tables(struct Emit *e); /* L_READ */
void push_entry(struct Emit *e, bool store);
void emit_lookup(struct Emit *e, bool store, uint32_t low_bits); /* low_bits: that the address must not have */
void push_host(struct Emit *e);
uint32_t access_bytes(uint32_t operation);
void emit_load(struct Emit *e, const struct JitInsn *n);
void emit_store(struct Emit *e, const struct JitInsn *n);
void emit_amo(struct Emit *e, const struct JitInsn *n);

/* jit/fp.c */
enum {
    FP_UNKNOWN,
    FP_ON,     /* FS is on */
    FP_KNOWN,  /* all that need_fp() sees to */
    FP_EASY,   /* FS is dirty, rounding to nearest, NX set: push_fp_easy() */
};
void push_fp_easy(struct Emit *e); /* i32 */
bool needs_easy_fp(const struct JitInsn *n);
void need_fp(struct Emit *e);      /* FS dirty and the rest known, or leaves */
void forget_fp(struct Emit *e);    /* after a call, or a CSR was written */
void need_fp_on(struct Emit *e);   /* FS not off, or leaves */
void look_up_fp_flags(struct Emit *e); /* L_FPOK, and fp_limit() by it */
uint32_t fp_limit(const struct Emit *e); /* local: results below it owe no flag */
void push_exponent_not(struct Emit *e, uint32_t least, uint32_t count);
void emit_fp(struct Emit *e, const struct JitInsn *n);

/* jit/later.c */
void later_locals(struct Emit *e); /* their declarations */
void later_begin(struct Emit *e, bool allowed);
void later_before(struct Emit *e, const struct JitInsn *n); /* each instruction that doesn't end its block */
/* Takes the result on the stack as n's; or those that n compares are to be numbers; false: the caller must see to it now. */
bool later_result(struct Emit *e, const struct JitInsn *n, bool finite_only);
bool later_numbers(struct Emit *e, const struct JitInsn *n);
void later_check(struct Emit *e);       /* asks for what nobody asked for yet */
void later_check_aside(struct Emit *e); /* the same in an arm that leaves */

/* The "if" or "br_if" that follows is seldom taken (branch hinting proposal):
 * without it the engine would save registers for a call behind it at once. */
static inline void hint_unlikely(struct Emit *e)
{
    if (e->hint_count < HINTS)
        e->hints[e->hint_count++] = (uint16_t)(e->out.at - e->start);
}

/* The function of a region, number `number` of its module, its size in front,
 * and its hints; false when it didn't fit. */
bool emit_region(struct Bytes *out, struct Region *r, uint32_t number, uint16_t *hints, uint32_t *hint_count);

/* What generated code calls (jit/help.c): by its number in the function table. */
uint32_t jit_csr(struct Hart *h, uint32_t what, uint64_t operand);
uint64_t jit_fp(struct Hart *h, uint32_t what, uint64_t a, uint64_t b, uint64_t c);

#endif
