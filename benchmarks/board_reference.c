/* The step of docs/emulator_specification.md (ideal pulses, no noise) in plain C: a yardstick for the compiled kernel.
 *
 * The state and parameter words lie as in bcall_hw/backend/emulator/words.py: for each core ROWS rows of N neurons. Compiled at
 * bench time with -DN=<neurons> and the row numbers.
 */
#include <stdint.h>
#include <string.h>

#define ONE (1 << 24)
#define ROW(r) (block + (r) * N)

typedef struct {
    int64_t cores, cores_per_chip, tags, entries, gain;
    int32_t *blocks;              /* cores x ROWS x N */
    const int32_t *tables;        /* cores x 3 x 1024 */
    const int32_t *start;         /* cores x (tags + 1) */
    const uint16_t *cells;        /* cores x entries */
    const int32_t *sent_start;    /* cores * N + 1 */
    const int32_t *sent;          /* n x (chip, mask, tag) */
    int32_t *pending, *next;      /* n x (chip, mask, tag) */
    int64_t n_pending, clock;
} board;

static void hear(const board *b, int64_t c, int32_t *block, int32_t tag, int *any) {
    const int32_t *at = b->start + c * (b->tags + 1) + tag;
    const uint16_t *cells = b->cells + c * b->entries;
    for (int32_t k = at[0]; k < at[1]; k++) {
        int32_t total = ROW(SUM)[cells[k]] + ROW(EVENT)[cells[k]];
        ROW(SUM)[cells[k]] = total < ONE ? total : ONE;
        *any = 1;
    }
}

static void jump(int32_t *restrict current, const int32_t *restrict full, int32_t *restrict sum, int64_t dither) {
    for (int i = 0; i < 4 * N; i++) {
        current[i] += (int32_t)(((int64_t)sum[i] * (full[i] - current[i]) + dither) >> 24);
        sum[i] = 0;
    }
}

static int integrate(int32_t *restrict block, const int32_t *restrict tables, int32_t *restrict look, int32_t *restrict fired,
                     int64_t gain) {
    int any = 0;
    for (int i = 0; i < N; i++) {
        int32_t j = block[V * N + i] >> 14;
        look[i] = tables[j], look[N + i] = tables[1024 + j], look[2 * N + i] = tables[2048 + j];
    }
    const int32_t *e = ROW(I_SYN), *g = e + N, *s = g + N, *b = s + N;
    for (int i = 0; i < N; i++) {
        int32_t gated = (int32_t)(((int64_t)g[i] * look[2 * N + i]) >> 16);
        int32_t drive = ROW(DC)[i] + e[i] + gated - b[i];
        drive = drive > 0 ? drive : 0;
        int32_t net = (int32_t)(((int64_t)drive * look[i]) >> 16) - ROW(LEAK)[i] - s[i] - ROW(I_AHP)[i] + look[N + i];
        int64_t raised = ROW(V)[i] + ((net * gain + (1 << 15)) >> 16);
        raised = raised > 0 ? raised : 0;
        int32_t waiting = ROW(REFRACTORY)[i];
        int32_t fires = waiting == 0 && raised >= ROW(V_SPIKE)[i];
        ROW(V)[i] = fires || waiting > 0 ? 0 : (int32_t)raised;
        ROW(REFRACTORY)[i] = fires ? ROW(REFRACTORY_STEPS)[i] : waiting > 0 ? waiting - 1 : 0;
        fired[i] = fires;
        any |= fires;
    }
    return any;
}

static void decay(int32_t *restrict current, const int32_t *restrict fraction, int64_t dither) {
    for (int i = 0; i < 5 * N; i++)
        current[i] -= (int32_t)(((int64_t)current[i] * fraction[i] + dither) >> 24);
}

/* Run steps first .. last - 1; returns the number of spikes written to out as (step, core, neuron). */
int64_t run(board *b, const int32_t *step_of, const int32_t *chip, const int32_t *mask, const int32_t *tag, int64_t n_events,
            int64_t first, int64_t last, int32_t *out) {
    int64_t event = 0, n_out = 0;
    int32_t look[3 * N], fired[N];
    while (event < n_events && step_of[event] < first) event++;
    for (int64_t step = first; step < last; step++) {
        int64_t dither = (b->clock * 10368889) % ONE, end = event, n_next = 0;
        while (end < n_events && step_of[end] == step) end++;
        for (int64_t c = 0; c < b->cores; c++) {
            int32_t *block = b->blocks + c * ROWS * N, here = (int32_t)(c / b->cores_per_chip);
            int bit = (int)(c % b->cores_per_chip), any = 0;
            for (int64_t e = event; e < end; e++)
                if (chip[e] == here && mask[e] >> bit & 1) hear(b, c, block, tag[e], &any);
            for (const int32_t *p = b->pending; p < b->pending + 3 * b->n_pending; p += 3)
                if (p[0] == here && p[1] >> bit & 1) hear(b, c, block, p[2], &any);
            if (any) jump(ROW(I_SYN), ROW(FULL), ROW(SUM), dither);
            if (integrate(block, b->tables + c * 3 * 1024, look, fired, b->gain))
                for (int i = 0; i < N; i++) {
                    if (!fired[i]) continue;
                    int32_t ahp = ROW(I_AHP)[i];
                    ROW(I_AHP)[i] += (int32_t)(((int64_t)ROW(JUMP_AHP)[i] * (ROW(FULL_AHP)[i] - ahp) + dither) >> 24);
                    out[3 * n_out] = (int32_t)step, out[3 * n_out + 1] = (int32_t)c, out[3 * n_out + 2] = i, n_out++;
                    const int32_t *from = b->sent_start + c * N + i;
                    memcpy(b->next + 3 * n_next, b->sent + 3 * from[0], 12 * (from[1] - from[0]));
                    n_next += from[1] - from[0];
                }
            decay(ROW(I_SYN), ROW(DECAY), dither);
        }
        int32_t *swap = b->pending;
        b->pending = b->next, b->next = swap, b->n_pending = n_next;
        event = end, b->clock++;
    }
    return n_out;
}
