/* Copies and fills by wide accesses, in strips.
 *
 * What a strip (jit/strip.c) moves is often moved as it is: words loaded and
 * stored at neighbouring addresses, one register after the other, or one value
 * stored many times.  Where a strip's loads read nothing that its stores write
 * within the same body, which is asked once at its head, by host addresses,
 * neighbours are moved together, sixteen bytes at a time: a load for several,
 * where the last of them is stored.  So is what a copy to another alignment
 * makes of each two words, `w >> k | next << (64 - k)`: these are the bytes that
 * lie k / 8 behind w.
 *
 * Registers through which this goes are not written, nor is what computes in
 * them, unless the loop's next turn begins with them.  So the strip's last body
 * is the plain one, which writes all.  So is its first: behind that, what a
 * register holds when a body begins is known, if the body before loaded it.
 * Nothing can leave from within: loops with other things in them than loads and
 * stores in pages that are known, and integer arithmetic, have no such strips.
 *
 * Other harts see each word loaded and stored at once, and stores in order.
 * Loads come later than stores to elsewhere that followed them, as RVWMO allows;
 * and a word that is parted is read twice.
 */
#include "jit/emit.h"

enum { PLAIN, UNREAD, RUNS }; /* what is done at a step; RUNS + k: run k, which ends there */

static const struct JitInsn *insn_at(const struct Emit *e, const struct JitBlock *b, uint32_t k)
{
    return &e->r->insns[b->first + k % b->count];
}

static const struct Group *group_at(const struct Emit *e, uint32_t k) { return &e->groups[e->group_of[k]]; }

/* The step that made register r for step k; FROM_ELSEWHERE + r: none of this body. */
static uint32_t maker(const struct Emit *e, const struct JitInsn *n, uint32_t k, uint32_t r)
{
    if (!r)
        return FROM_ELSEWHERE;
    return e->wide.made[k][(uint32_t)n->reads & ((1u << r) - 1) ? 1 : 0];
}

/* Is the body such that it could do so?  Notes what made what its steps read. */
static bool follow_values(struct Emit *e, const struct JitBlock *b)
{
    struct Wide *w = &e->wide;
    uint16_t by[32];
    uint32_t value = VALUES_MADE;
    w->steps = (uint16_t)(b->count * b->turns);
    w->stores = 0;
    w->begun = 0;
    for (uint32_t r = 0; r < 32; r++)
        by[r] = (uint16_t)(FROM_ELSEWHERE + r);
    for (uint32_t k = 0; k < w->steps; k++) {
        const struct JitInsn *n = insn_at(e, b, k);
        bool access = n->kind == KIND_LOAD || n->kind == KIND_STORE;
        bool jump = n->kind == KIND_BRANCH || (n->kind == KIND_CALL && n->i.rd == 32);
        if ((!access && !jump && n->kind != KIND_ASSIGN) || (n->reads | n->writes) >> 32)
            return false;
        if (access && (e->group_of[k] == GROUPS || !group_at(e, k)->ahead || group_at(e, k)->indexed))
            return false;
        if (n->kind == KIND_LOAD && value != VALUES_MADE && group_at(e, k)->value != value)
            return false; /* all are by one value, so which read the same memory is known */
        if (n->kind == KIND_LOAD)
            value = group_at(e, k)->value;
        uint32_t reads = (uint32_t)n->reads;
        for (uint32_t number = 0; reads; reads &= reads - 1, number++) {
            uint32_t r = (uint32_t)__builtin_ctz(reads);
            if (number == 2)
                return false;
            w->made[k][number] = by[r];
            w->begun |= by[r] >= FROM_ELSEWHERE ? 1u << r : 0;
        }
        for (uint32_t writes = (uint32_t)n->writes; writes; writes &= writes - 1)
            by[__builtin_ctz(writes)] = (uint16_t)k;
        if (n->kind == KIND_STORE)
            w->store[w->stores++] = (uint16_t)k;
    }
    memcpy(w->last, by, sizeof by);
    return w->stores > 1;
}

/* --- runs ------------------------------------------------------------------------------ */

/* A loaded value: by which step, of this body or the one before, and how far it lies from the groups' value in this one. */
struct Word {
    uint16_t step;
    bool before;
    uint8_t group;
    int32_t offset;
};

/* Is what `from` made such a value, of so many bytes? */
static bool find_word(const struct Emit *e, const struct JitBlock *b, uint32_t from, uint32_t bytes, struct Word *word)
{
    word->before = from >= FROM_ELSEWHERE;
    word->step = word->before ? e->wide.last[from - FROM_ELSEWHERE] : (uint16_t)from;
    if (word->step >= FROM_ELSEWHERE)
        return false;
    const struct JitInsn *n = insn_at(e, b, word->step);
    if (n->kind != KIND_LOAD || access_bytes(n->i.op) != bytes)
        return false;
    word->group = e->group_of[word->step];
    word->offset = e->offset_of[word->step] - (word->before ? e->streams[word->group].by : 0);
    return e->streams[word->group].page == word->group;
}

/* Does step k shift a loaded word by a register, that nothing writes here?  Which word, which register. */
static bool shifts(const struct Emit *e, const struct JitBlock *b, uint32_t k, uint32_t operation, struct Word *word, uint32_t *by)
{
    if (k >= FROM_ELSEWHERE)
        return false;
    const struct JitInsn *n = insn_at(e, b, k);
    *by = (uint32_t)n->i.imm & 31;
    if (n->i.op != operation || !*by || *by == n->i.rs1 || b->writes >> *by & 1)
        return false;
    return find_word(e, b, maker(e, n, k, n->i.rs1), 8, word);
}

/* Do they surely lie in one page, being neighbours?  One of the body before lies between the other in
 * that body and in this one, which are in the same. */
static bool one_page(const struct Word *a, const struct Word *b) { return a->group == b->group || a->before != b->before; }

/* What store k stores: a word as it was loaded, one made of two, or any value, which `from` tells from others. */
static uint32_t find_source(struct Emit *e, const struct JitBlock *b, uint32_t k, uint32_t *from, struct Word *word, struct Word *high)
{
    const struct JitInsn *n = insn_at(e, b, k), *made;
    uint32_t right, left;
    *from = maker(e, n, k, n->i.rd);
    if (find_word(e, b, *from, access_bytes(n->i.op), word))
        return WIDE_COPY;
    if (*from >= FROM_ELSEWHERE || access_bytes(n->i.op) != 8)
        return WIDE_FILL;
    made = insn_at(e, b, *from);
    if (made->i.op != OP_or && made->i.op != OP_c_or)
        return WIDE_FILL;
    uint32_t one = maker(e, made, *from, made->i.rs1), other = maker(e, made, *from, (uint32_t)made->i.imm & 31);
    if (!shifts(e, b, one, OP_srl, word, &right)) {
        uint32_t swapped = one;
        one = other;
        other = swapped;
    }
    struct Wide *w = &e->wide;
    if (!shifts(e, b, one, OP_srl, word, &right) || !shifts(e, b, other, OP_sll, high, &left) || !one_page(word, high) ||
        high->offset != word->offset + 8 || (w->right && (w->right != right || w->left != left)))
        return WIDE_FILL;
    w->right = (uint8_t)right;
    w->left = (uint8_t)left;
    return WIDE_MERGE;
}

/* A run of `count` stores from the one numbered `first` on. */
static bool find_run(struct Emit *e, const struct JitBlock *b, uint32_t first, uint32_t count)
{
    struct Wide *w = &e->wide;
    struct Word before, word, high, lowest;
    uint32_t from, begin = w->store[first], bytes = access_bytes(insn_at(e, b, begin)->i.op), low = 0;
    uint32_t kind = find_source(e, b, begin, &from, &before, &high);
    int32_t by = 0;
    if (first + count > w->stores || w->run_count == WIDE_RUNS)
        return false;
    lowest = before;
    for (uint32_t n = 1; n < count; n++) {
        uint32_t k = w->store[first + n], source;
        if (n == 1)
            by = e->offset_of[k] < e->offset_of[begin] ? -(int32_t)bytes : (int32_t)bytes;
        if (access_bytes(insn_at(e, b, k)->i.op) != bytes || e->group_of[k] != e->group_of[begin] ||
            e->offset_of[k] != e->offset_of[begin] + by * (int32_t)n || find_source(e, b, k, &source, &word, &high) != kind)
            return false;
        if (kind == WIDE_FILL ? source != from : !one_page(&before, &word) || word.offset != before.offset + by)
            return false;
        before = word;
        if (by < 0) {
            low = n;
            lowest = word;
        }
    }
    w->run[w->run_count++] = (struct WideRun){
        .kind = (uint8_t)kind, .bytes = (uint8_t)(count * bytes), .first = (uint16_t)first, .count = (uint16_t)count,
        .store = w->store[first + low], .load = lowest.offset, .from = lowest.group};
    return true;
}

static void find_runs(struct Emit *e, const struct JitBlock *b)
{
    struct Wide *w = &e->wide;
    w->run_count = w->right = w->left = 0;
    for (uint32_t k = 0; k < w->stores;) {
        uint32_t bytes = access_bytes(insn_at(e, b, w->store[k])->i.op), count = 0;
        if (!w->barred[k]) {
            if (find_run(e, b, k, 16 / bytes))
                count = 16 / bytes;
            else if (bytes < 8 && find_run(e, b, k, 8 / bytes))
                count = 8 / bytes;
        }
        k += count ? count : 1;
    }
    bool merged = false;
    for (uint32_t k = 0; k < w->run_count; k++)
        merged |= w->run[k].kind == WIDE_MERGE;
    if (!merged)
        w->right = w->left = 0;
}

/* What is done at each step: what the next turn begins with, what is stored plainly, and what these need. */
static void find_done(struct Emit *e, const struct JitBlock *b)
{
    struct Wide *w = &e->wide;
    memset(w->at, UNREAD, w->steps);
    w->wanted = 0;
    for (uint32_t n = 0; n < w->stores; n++)
        w->at[w->store[n]] = PLAIN;
    for (uint32_t k = 0; k < w->run_count; k++) {
        for (uint32_t n = 0; n < w->run[k].count; n++)
            w->at[w->store[w->run[k].first + n]] = UNREAD;
        w->at[w->store[w->run[k].first + w->run[k].count - 1]] = (uint8_t)(RUNS + k);
    }
    for (uint32_t r = 1; r < 32; r++)
        if (w->begun >> r & 1 && w->last[r] < FROM_ELSEWHERE)
            w->at[w->last[r]] = PLAIN;
    for (uint32_t k = w->steps; k-- > 0;) {
        const struct JitInsn *n = insn_at(e, b, k);
        if (w->at[k] == UNREAD || n->kind == KIND_LOAD)
            continue; /* addresses come from the groups */
        bool fill = w->at[k] >= RUNS && w->run[w->at[k] - RUNS].kind == WIDE_FILL;
        uint32_t reads = (uint32_t)n->reads;
        if (n->kind == KIND_STORE)
            reads = w->at[k] == PLAIN || fill ? 1u << n->i.rd & ~1u : 0;
        for (; reads; reads &= reads - 1) {
            uint32_t from = maker(e, n, k, (uint32_t)__builtin_ctz(reads));
            if (from < FROM_ELSEWHERE)
                w->at[from] = PLAIN;
            else
                w->wanted |= 1u << (from - FROM_ELSEWHERE);
        }
    }
}

/* A word that is also wanted in its register is loaded once: no run of copies has it. */
static bool bar_runs(struct Emit *e, const struct JitBlock *b)
{
    struct Wide *w = &e->wide;
    bool any = false;
    for (uint32_t k = 0; k < w->run_count; k++) {
        const struct WideRun *run = &w->run[k];
        for (uint32_t n = 0; n < run->count && run->kind == WIDE_COPY; n++) {
            uint32_t at = w->store[run->first + n], from = maker(e, insn_at(e, b, at), at, insn_at(e, b, at)->i.rd);
            if (from < FROM_ELSEWHERE ? w->at[from] == PLAIN : w->wanted >> (from - FROM_ELSEWHERE) & 1)
                any = w->barred[run->first] = true;
        }
    }
    return any;
}

/* --- what must not be the same memory -------------------------------------------------- */

/* A loaded word and what store k writes, which come in another order than they did; the store lies `by` further on. */
static bool note_swapped(struct Emit *e, const struct JitBlock *b, const struct Word *word, uint32_t k, int32_t by)
{
    struct Wide *w = &e->wide;
    uint8_t from = word->group, to = e->group_of[k];
    int32_t apart = word->offset - e->offset_of[k] - by;
    int32_t low = apart - (int32_t)access_bytes(insn_at(e, b, k)->i.op);
    int32_t high = apart + (int32_t)access_bytes(insn_at(e, b, word->step)->i.op);
    if (e->groups[from].value == e->groups[to].value)
        return low >= 0 || high <= 0;
    if (e->streams[from].page != from || e->streams[from].by != e->streams[to].by || !e->streams[to].by)
        return false;
    for (uint32_t n = 0; n < w->apart_count; n++) {
        struct WideApart *a = &w->apart[n];
        if (a->load != from || a->store != to)
            continue;
        a->low = low < a->low ? low : a->low;
        a->high = high > a->high ? high : a->high;
        return true;
    }
    if (w->apart_count == WIDE_APART)
        return false;
    w->apart[w->apart_count++] = (struct WideApart){from, to, low, high};
    return true;
}

/* A word that is loaded at step `now`, or just before. */
static bool note_load(struct Emit *e, const struct JitBlock *b, const struct Word *word, uint32_t now)
{
    const struct Wide *w = &e->wide;
    uint32_t run = 0;
    for (uint32_t n = 0; n < w->stores; n++) {
        while (run < w->run_count && n >= (uint32_t)w->run[run].first + w->run[run].count)
            run++;
        uint32_t at = w->store[n], done = at;
        if (run < w->run_count && n >= w->run[run].first)
            done = w->store[w->run[run].first + w->run[run].count - 1];
        bool was_before = !word->before && at < word->step;
        if (was_before != (done < now) && !note_swapped(e, b, word, at, 0))
            return false;
        if (word->before && at > word->step && !note_swapped(e, b, word, at, -e->streams[word->group].by))
            return false;
    }
    return true;
}

/* Does the load read what one before it read?  Then the two must keep their order. */
static bool reads_again(const struct Emit *e, const struct JitBlock *b, uint32_t k)
{
    int32_t low = e->offset_of[k], high = low + (int32_t)access_bytes(insn_at(e, b, k)->i.op);
    for (uint32_t n = 0; n < k; n++) {
        const struct JitInsn *other = insn_at(e, b, n);
        if (other->kind == KIND_LOAD && e->offset_of[n] < high && e->offset_of[n] + (int32_t)access_bytes(other->i.op) > low)
            return true;
    }
    return false;
}

static bool find_apart(struct Emit *e, const struct JitBlock *b)
{
    struct Wide *w = &e->wide;
    w->apart_count = 0;
    for (uint32_t k = 0; k < w->steps; k++)
        if (insn_at(e, b, k)->kind == KIND_LOAD && reads_again(e, b, k))
            return false;
    struct Word word, high;
    for (uint32_t k = 0; k < w->steps; k++)
        if (w->at[k] == PLAIN && insn_at(e, b, k)->kind == KIND_LOAD &&
            (!find_word(e, b, k, access_bytes(insn_at(e, b, k)->i.op), &word) || !note_load(e, b, &word, k)))
            return false;
    for (uint32_t k = 0; k < w->run_count; k++) {
        const struct WideRun *run = &w->run[k];
        uint32_t now = w->store[run->first + run->count - 1], from;
        for (uint32_t n = 0; n < run->count && run->kind != WIDE_FILL; n++) {
            uint32_t kind = find_source(e, b, w->store[run->first + n], &from, &word, &high);
            if (!note_load(e, b, &word, now) || (kind == WIDE_MERGE && !note_load(e, b, &high, now)))
                return false;
        }
    }
    return true;
}

void plan_wide(struct Emit *e, const struct JitBlock *b)
{
    struct Wide *w = &e->wide;
    uint32_t in_runs = 0;
    w->possible = false;
    if (!follow_values(e, b))
        return;
    memset(w->barred, 0, w->stores * sizeof w->barred[0]);
    do {
        find_runs(e, b);
        find_done(e, b);
    } while (bar_runs(e, b));
    for (uint32_t k = 0; k < w->run_count; k++)
        in_runs += w->run[k].count;
    w->possible = 2 * in_runs >= w->stores && find_apart(e, b);
}

/* --- code ------------------------------------------------------------------------------ */

static void simd(struct Emit *e, uint32_t code)
{
    op(e, W_SIMD);
    put_u(&e->out, code);
}

static void emit_run(struct Emit *e, const struct JitBlock *b, const struct WideRun *run)
{
    enum { LOAD = 0x00, STORE = 0x0b, SPLAT = 0x0f }; /* the last: i8x16's, followed by those of wider lanes */
    const struct JitInsn *n = insn_at(e, b, run->store);
    uint32_t bytes = access_bytes(n->i.op);
    get(e, group_at(e, run->store)->host);
    if (run->kind == WIDE_FILL) {
        push_x(e, n->i.rd);
        if (run->bytes == 8) {
            push64(e, ~0ull >> (64 - 8 * bytes));
            op(e, W_I64_AND);
            push64(e, ~0ull / (~0ull >> (64 - 8 * bytes)));
            op(e, W_I64_MUL);
        } else {
            if (bytes < 8)
                op(e, W_I32_WRAP);
            simd(e, SPLAT + (uint32_t)__builtin_ctz(bytes));
        }
    } else {
        const struct Group *g = &e->groups[run->from];
        get(e, g->host);
        if (run->kind == WIDE_MERGE) {
            get(e, e->wide_shift);
            op(e, W_I32_ADD);
        }
        if (run->bytes == 16)
            op(e, W_SIMD);
        access_ram(e, run->bytes == 16 ? LOAD : W_I64_LOAD, 0, (uint32_t)(run->load - g->low));
    }
    if (run->bytes == 16)
        op(e, W_SIMD);
    access_ram(e, run->bytes == 16 ? STORE : W_I64_STORE, 0, (uint32_t)(e->offset_of[run->store] - group_at(e, run->store)->low));
}

void emit_wide(struct Emit *e, const struct JitBlock *b)
{
    later_begin(e, false);
    for (e->turn = 0; e->turn < b->turns; e->turn++) {
        for (e->k = 0; e->k < b->count;) {
            uint8_t what = e->wide.at[step(e)];
            if (what == PLAIN) {
                e->k += emit_next(e, b);
                continue;
            }
            if (what >= RUNS)
                emit_run(e, b, &e->wide.run[what - RUNS]);
            e->k++;
        }
    }
    e->turn = b->turns - 1u;
}

/* i32: where the value of group g begins in host memory; of one that follows another, in the bodies behind the first. */
static void push_begin(struct Emit *e, uint32_t g, bool later)
{
    const struct Stream *stream = &e->streams[g];
    const struct Page *p = &e->pages[e->groups[stream->page].page - 1];
    get(e, p->host);
    get(e, p->address);
    op(e, W_I32_WRAP);
    op(e, W_I32_SUB);
    push_x(e, e->groups[later ? stream->page : g].value);
    op(e, W_I32_WRAP);
    op(e, W_I32_ADD);
    if (later && stream->low != e->groups[g].low) {
        push32(e, (uint32_t)(stream->low - e->groups[g].low));
        op(e, W_I32_ADD);
    }
}

void check_wide(struct Emit *e)
{
    const struct Wide *w = &e->wide;
    if (w->right) {
        push_x(e, w->right);
        op(e, W_I32_WRAP);
        push32(e, 63);
        op(e, W_I32_AND);
        tee(e, e->wide_shift);
        push_x(e, w->left);
        op(e, W_I32_WRAP);
        push32(e, 63);
        op(e, W_I32_AND);
        op(e, W_I32_ADD);
        push32(e, 64);
        op(e, W_I32_NE);
        get(e, e->wide_shift);
        push32(e, 7);
        op(e, W_I32_AND);
        op(e, W_I32_OR);
        op_u(e, W_BR_IF, 0);
        get(e, e->wide_shift);
        push32(e, 3);
        op(e, W_I32_SHR_U);
        set(e, e->wide_shift);
    }
    for (uint32_t k = 0; k < w->apart_count; k++) {
        const struct WideApart *a = &w->apart[k];
        for (uint32_t later = 0; later <= (e->streams[a->store].page != a->store); later++) {
            push_begin(e, a->store, later);
            push_begin(e, a->load, false);
            op(e, W_I32_SUB);
            push32(e, (uint32_t)a->low + 1);
            op(e, W_I32_SUB);
            push32(e, (uint32_t)(a->high - a->low) - 1);
            op(e, W_I32_LT_U);
            op_u(e, W_BR_IF, 0);
        }
    }
}
