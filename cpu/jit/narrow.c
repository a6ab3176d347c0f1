/* Which registers hold a word that is extended by its sign.
 *
 * C's int lives in registers so, and compilers for RV64 extend it anew wherever
 * they lost sight of that: `sext.w` of what is a word already is a move.
 */
#include "jit/region.h"

/* Does the instruction make such a word, if the registers of the set hold some? */
static bool makes_word(const struct JitInsn *n, uint32_t words)
{
    bool first = n->i.rs1 == 0 || words >> n->i.rs1 & 1, second = ((uint32_t)n->i.imm & 31) == 0 || words >> (n->i.imm & 31) & 1;
    switch (n->i.op) {
    case OP_lb: case OP_lbu: case OP_lh: case OP_lhu: case OP_lw: case OP_c_lw: case OP_lr_w: case OP_lui: case OP_c_lui:
    case OP_addiw: case OP_c_addiw: case OP_addw: case OP_c_addw: case OP_subw: case OP_c_subw: case OP_mulw:
    case OP_slliw: case OP_srliw: case OP_sraiw: case OP_sllw: case OP_srlw: case OP_sraw:
    case OP_divw: case OP_divuw: case OP_remw: case OP_remuw: case OP_rolw: case OP_rorw: case OP_roriw:
    case OP_slt: case OP_slti: case OP_sltu: case OP_sltiu: case OP_sext_b: case OP_sext_h: case OP_zext_h:
    case OP_feq_s: case OP_flt_s: case OP_fle_s: case OP_feq_d: case OP_flt_d: case OP_fle_d: case OP_fmv_x_w:
        return true;
    case OP_addi: case OP_c_addi:
        return n->i.rs1 == 0 || (n->i.imm == 0 && first);
    case OP_add: case OP_c_add:
        return (n->i.rs1 == 0 && second) || (((uint32_t)n->i.imm & 31) == 0 && first);
    case OP_andi: case OP_c_andi:
        return n->i.imm >= 0 || first;
    case OP_ori: case OP_xori:
        return first;
    case OP_and: case OP_c_and: case OP_or: case OP_c_or: case OP_xor: case OP_c_xor: case OP_andn: case OP_orn: case OP_xnor:
    case OP_min: case OP_max: case OP_minu: case OP_maxu:
        return first && second;
    case OP_srai: case OP_c_srai:
        return first || n->i.imm >= 32;
    case OP_srli: case OP_c_srli:
        return n->i.imm > 32;
    default:
        return false;
    }
}

uint32_t region_words(const struct Region *r, const struct JitBlock *b, uint32_t k)
{
    uint32_t words = b->words;
    for (uint32_t n = 0; n < k; n++) {
        const struct JitInsn *i = &r->insns[b->first + n];
        uint32_t writes = (uint32_t)i->writes;
        words = makes_word(i, words) ? words | writes : words & ~writes;
    }
    return words;
}

bool region_holds_word(const struct Region *r, const struct JitBlock *b, uint32_t k, uint32_t x)
{
    return x == 0 || region_words(r, b, k) >> x & 1;
}

/* What holds on all ways here; a call leaves nothing. */
void region_find_words(struct Region *r)
{
    for (uint32_t k = 0; k < r->order_count; k++)
        r->blocks[r->by_order[k]].words = k ? ~0u : 0;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t from = 0; from < r->order_count; from++) {
            const struct JitBlock *b = &r->blocks[r->by_order[from]];
            uint32_t out = b->end == END_CALL || b->end == END_CALL_INDIRECT ? 0 : region_words(r, b, b->count);
            for (uint32_t k = 0; k < edge_count(r, b); k++) {
                if (edge_to(r, b, k) == NO_BLOCK)
                    continue;
                struct JitBlock *to = &r->blocks[edge_to(r, b, k)];
                uint32_t words = to->words & (b->end == END_AGAIN && k == 0 ? region_words(r, b, b->middle) : out);
                if (words != to->words) {
                    to->words = words;
                    changed = true;
                }
            }
        }
    }
}
