#include "tools/bench/sample.h"

#include <math.h>
#include <stdlib.h>

#include "engine/base/log.h"

void sample_add(struct sample *sample, double value)
{
	if (sample->count == sample->capacity) {
		size_t capacity = sample->capacity ? 2 * sample->capacity : 256;
		double *values = realloc(sample->values, capacity * sizeof(*values));

		MUST(values != NULL);
		sample->values = values;
		sample->capacity = capacity;
	}
	sample->values[sample->count++] = value;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double sample_median(struct sample *sample)
{
	size_t n = sample->count;

	if (n == 0)
		return NAN;
	qsort(sample->values, n, sizeof(*sample->values), compare_doubles);
	if (n % 2)
		return sample->values[n / 2];
	return (sample->values[n / 2 - 1] + sample->values[n / 2]) / 2;
}

double sample_percentile(struct sample *sample, double part)
{
	if (sample->count == 0)
		return NAN;
	qsort(sample->values, sample->count, sizeof(*sample->values), compare_doubles);
	return sample->values[(size_t)((double)(sample->count - 1) * part)];
}

void sample_fini(struct sample *sample)
{
	free(sample->values);
	*sample = (struct sample){0};
}
