/* A region while it is translated: instructions, blocks, and what flow analysis
 * finds out about them.  One exists at a time (Jit.lock). */
#ifndef HARTWELL_JIT_REGION_H
#define HARTWELL_JIT_REGION_H

#include "hart/decode.h"
#include "hart/hart.h"

/* op_facts[]: what kind an operation is and which registers it names. */
enum {
    KIND_OTHER, KIND_ASSIGN, KIND_LOAD, KIND_STORE, KIND_FLOAD, KIND_FSTORE, KIND_BRANCH, KIND_CALL, KIND_INDIRECT,
    KIND_AMO, KIND_FP, KIND_CSR, KIND_FENCE, KIND_MASK = 15,
    X_RS1 = 0x10, X_RS2 = 0x20, X_RD = 0x40, F_RS1 = 0x80, F_RS2 = 0x100, F_RS3 = 0x200, F_RD = 0x400,
    RS2_IN_RD = 0x800, SHORT = 0x1000,
};
extern const uint16_t op_facts[OP_COUNT];

#define WINDOW_PAGES JIT_REGION_PAGES /* the entry's page is number 1 of these */
#define WINDOW (WINDOW_PAGES * 4096)
#define REGION_INSNS 400
#define REGION_COPIES 300 /* instructions that are in two blocks, as one of them was made of two */
#define REGION_BLOCKS 120
#define NO_BLOCK 0xff
#define SWITCH_TARGETS 64
#define REGISTERS 64 /* x0..x31, f0..f31: bits of a set */

typedef uint64_t RegSet;

struct JitInsn {
    struct Insn i;
    uint16_t at; /* offset in the window */
    uint8_t length;
    uint8_t kind;
    RegSet reads, writes;
};

enum {
    END_FALL, END_BRANCH, END_JUMP, END_CALL, END_CALL_INDIRECT, END_INDIRECT, END_RETURN, END_LEAVE, END_SWITCH,
    END_ENTER, /* a call whose callee is part of the region: next[0] */
    END_ENTER_GUESSED, /* one through a register: next[0] asks where it leads */
    END_GUESS, /* without instructions: to `far`, which is next[0], or on to next[1] */
    END_AGAIN, /* to its own begin; the way out, next[0], is a branch in its middle */
    END_BACK,  /* that one's return: to next[0], if that is where it leads */
};

struct JitBlock {
    uint16_t first, count;   /* of insns */
    uint8_t end;             /* END_* */
    uint8_t next[2];         /* taken, not taken: block, or NO_BLOCK */
    uint16_t next_at[2];     /* where those are, in the window; may lie outside of what is translated */
    int32_t far;             /* target relative to the window, of what isn't the next instruction */
    uint8_t order;           /* in reverse postorder */
    uint8_t dominator;       /* by order */
    uint8_t forward_edges;   /* into it */
    bool reached;
    bool loop;               /* blocks behind it lead back to it */
    bool itself;             /* and so does its own branch */
    bool tight;              /* the innermost loop it lies in has none inside, calls nothing and changes no CSR */
    bool roomy;              /* that one uses few registers */
    uint16_t middle;         /* END_AGAIN: which instruction leads out, */
    bool out_if;             /* if its condition is that */
    uint8_t depth;           /* calls that it is inside of */
    uint8_t turns;           /* of a loop that is one block: how often it is unrolled */
    uint32_t words;          /* x registers that hold a word extended by its sign when it begins */
    uint32_t loaded;         /* x registers that some load in it writes */
    uint32_t leaping;        /* those that change otherwise than by a few bytes a turn */
    RegSet dirty_in, live_in, reads, writes;
};

struct Region {
    struct Hart *h;
    uint64_t base;                     /* va of the entry's page */
    uint32_t entry;                    /* in the window */
    uint32_t page[WINDOW_PAGES];       /* RAM page, NO_PAGE: not to be had, PAGE_UNASKED */
    uint32_t generation[WINDOW_PAGES];
    uint16_t insn_at[WINDOW / 2];      /* index + 1 */
    uint8_t leader[WINDOW / 2];
    uint8_t block_at[WINDOW / 2];      /* + 1; of the function that is being looked at, as insn_at and leader */
    uint32_t insn_room;                /* how many may be added */
    uint8_t entry_block, found;        /* found: entry of the function that was added last */
    struct JitInsn insns[REGION_INSNS + REGION_COPIES];
    uint32_t insn_count; /* those of a callee as often as it was taken in */
    struct JitBlock blocks[REGION_BLOCKS];
    uint32_t block_count;
    /* Where indirect jumps were seen to lead: all of them go through one block
     * without instructions, which has an edge to each place. */
    uint16_t switch_at[SWITCH_TARGETS];
    uint8_t switch_next[SWITCH_TARGETS];
    uint32_t switch_count;
    uint8_t by_order[REGION_BLOCKS];
    uint32_t order_count;
    RegSet used; /* any instruction's */
    uint32_t touched; /* pages of the window that instructions lie in, a bit each */
    bool uses_memory;
};

#define PAGE_UNASKED (~1u)

/* Finds the instructions that belong to the region at pc, and its blocks.
 * false: nothing worth translating. */
bool region_find(struct Region *r, struct Hart *h, uint64_t pc);

/* Is the window's page to be had?  Adds the function at `at`, as far as it was
 * executed, its first block being r->found; false when it didn't fit. */
bool region_page(struct Region *r, uint32_t number);
bool region_add(struct Region *r, uint32_t at, uint32_t depth);

/* What block `number` calls, if it is small and hot, becomes part of the region. */
#define TAKEN 200 /* instructions of all that is taken in */
void region_take_in(struct Region *r, uint32_t number);

/* Order, dominators, loops; cuts edges that make it irreducible; liveness. */
void region_flow(struct Region *r);

/* Registers of the exits in block b: what may be dirty before instruction k of it. */
RegSet region_dirty(const struct Region *r, const struct JitBlock *b, uint32_t k);

/* jit/narrow.c: which x registers hold a word extended by its sign before instruction k of the block?  Does x? */
uint32_t region_words(const struct Region *r, const struct JitBlock *b, uint32_t k);
bool region_holds_word(const struct Region *r, const struct JitBlock *b, uint32_t k, uint32_t x);
void region_find_words(struct Region *r);

static inline uint32_t edge_count(const struct Region *r, const struct JitBlock *b)
{
    return b->end == END_SWITCH ? r->switch_count : 2;
}

static inline uint32_t edge_to(const struct Region *r, const struct JitBlock *b, uint32_t k)
{
    return b->end == END_SWITCH ? r->switch_next[k] : b->next[k];
}

static inline bool region_dominates(const struct Region *r, uint32_t a, uint32_t b)
{
    while (b > a)
        b = r->blocks[r->by_order[b]].dominator;
    return a == b;
}

/* The register that the instruction adds a constant to, for another; 0: it does something else. */
static inline uint32_t moved_from(const struct JitInsn *n, int32_t *by)
{
    *by = 0;
    if (n->i.op == OP_addi || n->i.op == OP_c_addi) {
        *by = n->i.imm;
        return n->i.rs1;
    }
    return (n->i.op == OP_add || n->i.op == OP_c_add) && n->i.rs1 == 0 ? (uint32_t)n->i.imm & 31 : 0;
}

/* May leave the region in the middle of the instruction, before it did anything. */
static inline bool insn_may_leave(const struct JitInsn *i)
{
    if (i->kind == KIND_ASSIGN)
        return (i->reads | i->writes) >> 32; /* FS may be off */
    return i->kind != KIND_BRANCH && i->kind != KIND_CALL && i->kind != KIND_INDIRECT &&
           i->kind != KIND_FENCE;
}

#endif
