/* AMX in plain C, for CPUs without it: included by transformer.c where EMULATED_TILES names this file.

By the operation of each instruction in Intel's manual (Intel 64 and IA-32 Architectures Software Developer's Manual,
volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TDPBUSD). Like the CPU it ends the process where tiles have no
shape, or shapes do not fit. */

#include <string.h>

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbusd
#define _tile_loadconfig emulated_loadconfig
#define _tile_release emulated_release
#define _tile_zero emulated_zero
#define _tile_loadd emulated_loadd
#define _tile_stored emulated_stored
#define _tile_dpbusd emulated_dpbusd

typedef struct {
    int rows, bytes;
    uint8_t data[16][64];
} EmulatedTile;

static _Thread_local EmulatedTile emulated_tiles[8];

static EmulatedTile *emulated(int number)
{
    EmulatedTile *tile = emulated_tiles + number;
    if (!tile->rows || !tile->bytes) __builtin_trap();
    return tile;
}

static void emulated_release(void) { memset(emulated_tiles, 0, sizeof emulated_tiles); }

static void emulated_loadconfig(const void *shapes)
{
    const uint8_t *bytes = shapes;
    emulated_release();
    if (bytes[0] != 1 || bytes[1] != 0) __builtin_trap();
    for (int i = 0; i < 8; i++) {
        emulated_tiles[i].bytes = bytes[16 + 2 * i] + 256 * bytes[17 + 2 * i];
        emulated_tiles[i].rows = bytes[48 + i];
        if (emulated_tiles[i].rows > 16 || emulated_tiles[i].bytes > 64) __builtin_trap();
    }
}

static void emulated_zero(int number) { memset(emulated(number)->data, 0, sizeof emulated(number)->data); }

static void emulated_loadd(int number, const void *base, size_t stride)
{
    EmulatedTile *tile = emulated(number);
    memset(tile->data, 0, sizeof tile->data);
    for (int row = 0; row < tile->rows; row++)
        memcpy(tile->data[row], (const char *)base + row * stride, (size_t)tile->bytes);
}

static void emulated_stored(int number, void *base, size_t stride)
{
    EmulatedTile *tile = emulated(number);
    for (int row = 0; row < tile->rows; row++)
        memcpy((char *)base + row * stride, tile->data[row], (size_t)tile->bytes);
}

static void emulated_dpbusd(int sums, int unsigned_bytes, int signed_bytes)
{
    EmulatedTile *c = emulated(sums), *a = emulated(unsigned_bytes), *b = emulated(signed_bytes);
    if (c->rows != a->rows || a->bytes != 4 * b->rows || c->bytes != b->bytes) __builtin_trap();
    for (int row = 0; row < c->rows; row++)
        for (int k = 0; k < a->bytes / 4; k++)
            for (int column = 0; column < c->bytes / 4; column++) {
                int32_t sum;
                memcpy(&sum, c->data[row] + 4 * column, 4);
                for (int i = 0; i < 4; i++) sum += a->data[row][4 * k + i] * (int8_t)b->data[k][4 * column + i];
                memcpy(c->data[row] + 4 * column, &sum, 4);
            }
}
