/* Which instructions make up a region.
 *
 * From the entry, along branches and jumps, past calls to their return.  What
 * lies outside of a window of four pages around the entry, and what no longer
 * fits, is reached by leaving.  Small callees that are hot: jit/callee.c.
 */
#include "jit/region.h"

#include "jit/jit.h"
#include "jit/registry.h"
#include "mmu/mmu.h"

const uint16_t op_facts[OP_COUNT] = {
#include "generated/isa_operands.inc"
};

/* The page of the window, resolved when first asked for; only one whose
 * decoded copy is fresh: bytes read from here on are then watched. */
bool region_page(struct Region *r, uint32_t number)
{
    if (r->page[number] == PAGE_UNASKED) {
        uint32_t page = code_page(r->h, r->base + (uint64_t)(int64_t)((int32_t)number - 1) * 4096);
        if (page != NO_PAGE && !code_fresh(r->h, page, &r->generation[number]))
            page = NO_PAGE;
        r->page[number] = page;
    }
    return r->page[number] != NO_PAGE;
}

static uint32_t window_half(const struct Region *r, uint32_t at)
{
    return half_at(ram_byte(r->page[at >> 12] * 4096u + (at & 0xfff)));
}

static RegSet x_bit(uint32_t r) { return r && r < 32 ? 1ull << r : 0; }
static RegSet f_bit(uint32_t r) { return 1ull << (32 + (r & 31)); }

static void note_operands(struct JitInsn *n)
{
    uint32_t facts = op_facts[n->i.op], rs2 = facts & RS2_IN_RD ? n->i.rd : (uint32_t)n->i.imm & 31;
    n->kind = facts & KIND_MASK;
    n->reads = (facts & X_RS1 ? x_bit(n->i.rs1) : 0) | (facts & X_RS2 ? x_bit(rs2) : 0) |
               (facts & F_RS1 ? f_bit(n->i.rs1) : 0) | (facts & F_RS2 ? f_bit(rs2) : 0) |
               (facts & F_RS3 ? f_bit((uint32_t)n->i.imm >> 5) : 0);
    n->writes = (facts & X_RD ? x_bit(n->i.rd) : 0) | (facts & F_RD ? f_bit(n->i.rd) : 0);
}

/* Adds the instruction at `at`; false when it can't be had, or when this hart
 * never executed it: code that is not decoded is cold, and left out. */
static bool add_insn(struct Region *r, uint32_t at)
{
    if (at >= WINDOW || r->insn_count == r->insn_room || !region_page(r, at >> 12))
        return false;
    const struct Insn *decoded = code_decoded(r->h, r->page[at >> 12]);
    if (!decoded || decoded[(at & 0xfff) / 2].op == OP_UNDECODED || decoded[(at & 0xfff) / 2].op == OP_BREAK)
        return false;
    uint32_t bits = window_half(r, at);
    struct JitInsn *n = &r->insns[r->insn_count];
    n->length = 2;
    if ((bits & 3) == 3) {
        if (at + 2 >= WINDOW || !region_page(r, (at + 2) >> 12))
            return false;
        bits |= window_half(r, at + 2) << 16;
        n->length = 4;
    }
    n->i = decode_bits(bits);
    n->at = (uint16_t)at;
    note_operands(n);
    r->insn_at[at / 2] = (uint16_t)++r->insn_count;
    return true;
}

static bool ends_block(const struct JitInsn *n)
{
    return n->kind == KIND_BRANCH || n->kind == KIND_CALL || n->kind == KIND_INDIRECT || n->kind == KIND_OTHER;
}

struct Worklist {
    uint16_t at[REGION_BLOCKS * 2];
    uint32_t head, tail;
};

static void add_leader(struct Region *r, struct Worklist *work, int32_t at)
{
    if (at < 0 || at >= (int32_t)WINDOW || r->leader[at / 2] || work->tail == REGION_BLOCKS - 8)
        return;
    r->leader[at / 2] = 1;
    work->at[work->tail++] = (uint16_t)at;
}

/* Adds the places in the window that the interpreter saw the jump at `at` go to. */
static void add_targets(struct Region *r, struct Worklist *work, uint32_t at)
{
    uint32_t site = (uint32_t)r->base + at - 4096, seen[JIT_TARGETS], count = jit_targets(r->h, site, seen);
    for (uint32_t k = 0; k < count; k++) {
        uint32_t to = seen[k] - (uint32_t)r->base + 4096, n = 0;
        while (n < r->switch_count && r->switch_at[n] != to)
            n++;
        if (to >= WINDOW || n < r->switch_count || n == SWITCH_TARGETS)
            continue;
        r->switch_at[r->switch_count++] = (uint16_t)to;
        add_leader(r, work, (int32_t)to);
    }
}

static void explore(struct Region *r, struct Worklist *work, uint32_t depth)
{
    for (uint32_t at = work->at[work->head++];; at += r->insns[r->insn_count - 1].length) {
        if (at < WINDOW && r->insn_at[at / 2])
            return;
        if (!add_insn(r, at))
            return;
        const struct JitInsn *n = &r->insns[r->insn_count - 1];
        if (!ends_block(n))
            continue;
        int32_t next = (int32_t)at + n->length;
        if (n->kind == KIND_BRANCH) {
            add_leader(r, work, next);
            add_leader(r, work, (int32_t)at + n->i.imm);
        } else if (n->kind == KIND_CALL && n->i.rd == 32) {
            add_leader(r, work, (int32_t)at + n->i.imm);
        } else if (n->kind == KIND_INDIRECT && n->i.rd == 32 && n->i.rs1 != 1 && n->i.rs1 != 5 && depth == 0) {
            add_targets(r, work, at);
        } else if (n->kind != KIND_OTHER && n->i.rd != 32) {
            add_leader(r, work, next);
        }
        return;
    }
}

static void set_end(struct JitBlock *b, const struct JitInsn *last)
{
    uint32_t next = last->at + last->length;
    b->next_at[0] = b->next_at[1] = (uint16_t)next;
    b->end = END_FALL;
    switch (last->kind) {
    case KIND_BRANCH:
        b->end = END_BRANCH;
        b->far = last->at + last->i.imm;
        break;
    case KIND_CALL:
        b->end = last->i.rd == 32 ? END_JUMP : END_CALL;
        b->far = last->at + last->i.imm;
        break;
    case KIND_INDIRECT:
        b->end = last->i.rd != 32 ? END_CALL_INDIRECT : last->i.rs1 == 1 || last->i.rs1 == 5 ? END_RETURN : END_INDIRECT;
        break;
    case KIND_OTHER:
        b->end = END_LEAVE;
        break;
    default:
        break;
    }
}

static uint8_t block_number(const struct Region *r, int32_t at)
{
    return at < 0 || at >= (int32_t)WINDOW || !r->block_at[at / 2] ? NO_BLOCK : (uint8_t)(r->block_at[at / 2] - 1);
}

/* The instructions from number `first` on, by their addresses. */
static void sort_insns(struct Region *r, uint32_t first)
{
    static struct JitInsn sorted[REGION_INSNS];
    uint32_t low = WINDOW, high = 0, count = 0;
    for (uint32_t k = first; k < r->insn_count; k++) {
        low = r->insns[k].at < low ? r->insns[k].at : low;
        high = r->insns[k].at > high ? r->insns[k].at : high;
    }
    for (uint32_t at = low; at <= high; at += 2)
        if (r->insn_at[at / 2])
            sorted[count++] = r->insns[r->insn_at[at / 2] - 1];
    memcpy(r->insns + first, sorted, count * sizeof *sorted);
}

/* Blocks of the instructions from number `first` on. */
static bool make_blocks(struct Region *r, uint32_t first, uint32_t depth)
{
    uint32_t first_block = r->block_count;
    sort_insns(r, first);
    struct JitBlock *b = NULL;
    for (uint32_t k = first; k < r->insn_count; k++) {
        struct JitInsn *n = &r->insns[k];
        bool follows = k > first && n[-1].at + n[-1].length == n->at && !ends_block(n - 1);
        if (!follows || r->leader[n->at / 2]) {
            if (r->block_count == REGION_BLOCKS)
                return false;
            b = &r->blocks[r->block_count++];
            memset(b, 0, sizeof *b);
            b->first = (uint16_t)k;
            b->depth = (uint8_t)depth;
            r->block_at[n->at / 2] = (uint8_t)r->block_count;
        }
        b->count++;
        b->reads |= n->reads & ~b->writes;
        b->writes |= n->writes;
    }
    for (uint32_t k = first_block; k < r->block_count; k++) {
        b = &r->blocks[k];
        set_end(b, &r->insns[b->first + b->count - 1]);
        b->next[0] = b->next[1] = NO_BLOCK;
        if (b->end == END_BRANCH || b->end == END_JUMP)
            b->next[0] = block_number(r, b->far);
        if (b->end == END_BRANCH || b->end == END_FALL || b->end == END_CALL || b->end == END_CALL_INDIRECT)
            b->next[1] = block_number(r, b->next_at[1]);
    }
    return true;
}

static void make_switch(struct Region *r)
{
    uint32_t known = 0;
    for (uint32_t k = 0; k < r->switch_count; k++)
        if (r->block_at[r->switch_at[k] / 2]) {
            r->switch_at[known] = r->switch_at[k];
            r->switch_next[known++] = (uint8_t)(r->block_at[r->switch_at[k] / 2] - 1);
        }
    r->switch_count = known;
    if (known == 0 || r->block_count == REGION_BLOCKS)
        return;
    uint32_t number = r->block_count++;
    struct JitBlock *b = &r->blocks[number];
    memset(b, 0, sizeof *b);
    b->end = END_SWITCH;
    b->next[0] = b->next[1] = NO_BLOCK;
    for (uint32_t k = 0; k < number; k++)
        if (r->blocks[k].end == END_INDIRECT)
            r->blocks[k].next[0] = (uint8_t)number;
}

/* What all instructions together do. */
static void sum_up(struct Region *r)
{
    r->used = 0;
    r->uses_memory = false;
    r->touched = 0;
    for (uint32_t k = 0; k < r->insn_count; k++) {
        const struct JitInsn *n = &r->insns[k];
        r->used |= n->reads | n->writes;
        r->touched |= 1u << (n->at >> 12) | 1u << ((n->at + n->length - 1) >> 12);
        r->uses_memory |= n->kind == KIND_LOAD || n->kind == KIND_STORE || n->kind == KIND_FLOAD ||
                          n->kind == KIND_FSTORE || n->kind == KIND_AMO;
    }
}

/* Adds the function at `at`, as far as it was executed; false when it didn't fit. */
bool region_add(struct Region *r, uint32_t at, uint32_t depth)
{
    struct Worklist work = {.head = 0, .tail = 0};
    uint32_t first = r->insn_count;
    add_leader(r, &work, (int32_t)at);
    while (work.head < work.tail)
        explore(r, &work, depth);
    bool made = r->insn_count > first && r->insns[first].kind != KIND_OTHER && make_blocks(r, first, depth);
    r->found = made ? block_number(r, (int32_t)at) : NO_BLOCK;
    if (made && depth == 0)
        make_switch(r);
    for (uint32_t k = 0; k < work.tail; k++)
        r->leader[work.at[k] / 2] = 0;
    for (uint32_t k = first; k < r->insn_count; k++)
        r->insn_at[r->insns[k].at / 2] = r->block_at[r->insns[k].at / 2] = 0;
    return made;
}

static uint32_t edges_to(const struct Region *r, uint32_t number)
{
    uint32_t edges = 0;
    for (uint32_t n = 0; n < r->block_count; n++)
        for (uint32_t k = 0; k < edge_count(r, &r->blocks[n]); k++)
            edges += edge_to(r, &r->blocks[n], k) == number;
    return edges;
}

/* Block b's instructions, followed by those of `rest`; false when there is no room. */
static bool append(struct Region *r, struct JitBlock *b, const struct JitBlock *rest)
{
    uint32_t count = b->count + rest->count;
    if (count > REGION_INSNS || r->insn_count + count > REGION_INSNS + REGION_COPIES)
        return false;
    memcpy(r->insns + r->insn_count, r->insns + b->first, b->count * sizeof *r->insns);
    memcpy(r->insns + r->insn_count + b->count, r->insns + rest->first, rest->count * sizeof *r->insns);
    b->first = (uint16_t)r->insn_count;
    b->count = (uint16_t)count;
    b->reads |= rest->reads & ~b->writes;
    b->writes |= rest->writes;
    r->insn_count += count;
    return true;
}

/* A block that always goes on to one that nothing else leads to is one with it. */
static void join_next(struct Region *r, uint32_t number)
{
    struct JitBlock *b = &r->blocks[number];
    while (b->end == END_FALL || b->end == END_JUMP || b->end == END_ENTER) {
        uint32_t next = b->next[b->end == END_FALL];
        if (next == NO_BLOCK || next == number || next == r->entry_block || edges_to(r, next) != 1)
            return;
        struct JitBlock *rest = &r->blocks[next];
        if (rest->count == 0 || !append(r, b, rest))
            return;
        b->end = rest->end;
        b->far = rest->far;
        for (uint32_t k = 0; k < 2; k++) {
            b->next[k] = rest->next[k];
            b->next_at[k] = rest->next_at[k];
            rest->next[k] = NO_BLOCK;
        }
        rest->end = END_FALL; /* nothing leads there */
    }
}

/* A loop of two blocks, of which the first may leave and the second does
 * nothing but go back, becomes one: it is looked up ahead and unrolled then. */
static void join_loop(struct Region *r, uint32_t number)
{
    struct JitBlock *b = &r->blocks[number];
    if (b->end != END_BRANCH || b->next[0] == b->next[1] || b->next[0] == number || b->next[1] == number)
        return;
    for (uint32_t k = 0; k < 2; k++) {
        if (b->next[k] == NO_BLOCK || b->next[k] == r->entry_block)
            continue;
        const struct JitBlock *rest = &r->blocks[b->next[k]];
        uint32_t middle = b->count - 1u;
        if ((rest->end != END_JUMP && rest->end != END_FALL) || rest->next[rest->end == END_JUMP ? 0 : 1] != number ||
            edges_to(r, b->next[k]) != 1 || !append(r, b, rest))
            continue;
        b->middle = (uint16_t)middle;
        b->end = END_AGAIN;
        b->out_if = k == 1;
        b->far = k == 1 ? b->far : b->next_at[1];
        b->next[0] = b->next[1 - k];
        b->next[1] = (uint8_t)number;
        b->next_at[1] = r->insns[b->first].at;
        return;
    }
}

bool region_find(struct Region *r, struct Hart *h, uint64_t pc)
{
    memset(r->insn_at, 0, sizeof r->insn_at);
    memset(r->leader, 0, sizeof r->leader);
    memset(r->block_at, 0, sizeof r->block_at);
    r->h = h;
    r->base = pc & ~0xfffull;
    r->entry = 4096 + (uint32_t)(pc & 0xfff);
    r->insn_count = r->block_count = r->switch_count = 0;
    r->insn_room = REGION_INSNS;
    for (uint32_t k = 0; k < WINDOW_PAGES; k++)
        r->page[k] = PAGE_UNASKED;
    if (!region_add(r, r->entry, 0))
        return false;
    r->entry_block = r->found;
    uint32_t own = r->insn_count;
    for (uint32_t k = 0; k < r->block_count && r->insn_count < own + TAKEN; k++)
        region_take_in(r, k);
    for (uint32_t k = 0; k < r->block_count; k++)
        join_next(r, k);
    for (uint32_t k = 0; k < r->block_count; k++)
        join_loop(r, k);
    sum_up(r);
    return true;
}
