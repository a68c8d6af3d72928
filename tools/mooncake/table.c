#include "tools/mooncake/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"

struct table {
	const char *align;
	size_t column_count;
	size_t cell_count;
	size_t cell_capacity;
	char **cells;
	int widths[TABLE_COLUMN_MAX]; /* in characters */
};

struct table *table_new(const char *align)
{
	struct table *table = calloc(1, sizeof(*table));

	MUST(table != NULL);
	table->align = align;
	table->column_count = strlen(align);
	MUST(table->column_count >= 1 && table->column_count <= TABLE_COLUMN_MAX);
	return table;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->cell_count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
}

/* Characters, not bytes: what continues a UTF-8 sequence takes no place. */
static int width_of(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

void table_add(struct table *table, const char *format, ...)
{
	va_list args;
	char *cell;

	if (table->cell_count == table->cell_capacity) {
		table->cell_capacity = table->cell_capacity ? table->cell_capacity * 2 : 64;
		table->cells =
			reallocarray(table->cells, table->cell_capacity, sizeof(*table->cells));
		MUST(table->cells != NULL);
	}
	va_start(args, format);
	MUST(vasprintf(&cell, format, args) >= 0);
	va_end(args);
	int *width = &table->widths[table->cell_count % table->column_count];
	int own = width_of(cell);
	if (own > *width)
		*width = own;
	table->cells[table->cell_count++] = cell;
}

void table_print(const struct table *table, FILE *out)
{
	for (size_t i = 0; i < table->cell_count; i++) {
		size_t column = i % table->column_count;
		bool last = column + 1 == table->column_count;
		int pad = table->widths[column] - width_of(table->cells[i]);
		if (table->align[column] == 'R')
			fprintf(out, "%*s%s", pad, "", table->cells[i]);
		else
			fprintf(out, "%s%*s", table->cells[i], last ? 0 : pad, "");
		fputs(last ? "\n" : "  ", out);
	}
}
