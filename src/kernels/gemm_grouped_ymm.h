/*
 * gemm_grouped_ymm.h
 *		Shared by levels of gemm_grouped with ymm registers, for a region with AVX2, FMA
 *		and F16C. 16 registers have no room for chains: these stay in `state`.
 */
EMB_ALWAYS_INLINE __m256i
broadcast_group(const uint8_t *a)
{
	int32_t		group;

	memcpy(&group, a, sizeof(group));
	return _mm256_set1_epi32(group);
}

/* The zeros of 8 columns, in all 4 bytes of each. */
EMB_ALWAYS_INLINE __m256i
load_zeros_ymm(const uint8_t *zeros)
{
	__m256i		zero_i32x8 = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) zeros));

	return _mm256_mullo_epi32(_mm256_and_si256(zero_i32x8, _mm256_set1_epi32(15)), _mm256_set1_epi32(0x01010101));
}

static void
widen_scales_ymm(const uint16_t *from, EmbScaleType type, int32_t n, float (*to)[EMB_PANEL])
{
	for (int32_t i = 0; i < 2 * n; i++)
	{
		__m128i		halves = _mm_loadu_si128((const __m128i *) (from + i * 8));
		__m256		scale_f32x8 = type == EMB_SCALE_F16 ? _mm256_cvtph_ps(halves) :
			_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));

		_mm256_store_ps(to[i / 2] + i % 2 * 8, scale_f32x8);
	}
}

static void
unpack_ymm(const uint8_t *packed, int32_t n_groups, int32_t group, const uint8_t *zeros, EmbGroupedPanel *panel)
{
	const __m256i low_bits = _mm256_set1_epi8(15);

	for (int32_t start = 0; start < n_groups; start += group, zeros += EMB_PANEL)
	{
		int32_t		end = n_groups - start < group ? n_groups : start + group;
		__m256i		zero_u8x32[2] = {load_zeros_ymm(zeros), load_zeros_ymm(zeros + 8)};

		for (int32_t i = start; i < end; i += 2, packed += EMB_PANEL * EMB_GROUP)
		{
			EMB_UNROLL
			for (int h = 0; h < 2; h++)
			{
				__m256i		codes = _mm256_loadu_si256((const __m256i *) (packed + h * 32));
				__m256i		lower = _mm256_and_si256(codes, low_bits);
				__m256i		upper = _mm256_and_si256(_mm256_srli_epi16(codes, 4), low_bits);

				_mm256_store_si256((__m256i *) panel->b[i][h * 8], _mm256_sub_epi8(lower, zero_u8x32[h]));
				_mm256_store_si256((__m256i *) panel->b[i + 1][h * 8], _mm256_sub_epi8(upper, zero_u8x32[h]));
			}
		}
	}
}

/* The sums of row r, columns 8 h .. 8 h + 7 of the tile, at the start of a group of inputs. */
EMB_ALWAYS_INLINE __m256i
start_ymm(const EmbTileGrouped *t, int r, int h)
{
	__m256i		sum = t->carries_in ? _mm256_load_si256((const __m256i *) (t->state + r * GROUPED_STATE_STRIDE + h * 8)) :
		_mm256_setzero_si256();

	__asm__("" : "+x"(sum));
	return sum;
}

/*
 * The end of a group of inputs: the next link of the chain; after the last
 * group the result.
 */
EMB_ALWAYS_INLINE void
end_ymm(const EmbTileGrouped *t, int r, int h, __m256i sum_i32x8, const float *scale, bool starts, bool ends)
{
	float	   *state = t->state + r * GROUPED_STATE_STRIDE + h * 8;
	__m256		y;

	if (t->carries_out)
	{
		_mm256_store_si256((__m256i *) state, sum_i32x8);
		return;
	}
	y = starts ? _mm256_setzero_ps() : _mm256_load_ps(state);
	y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum_i32x8), _mm256_loadu_ps(scale + h / 2 * t->scale_stride + h % 2 * 8), y);
	if (!ends)
	{
		_mm256_store_ps(state, y);
		return;
	}
	if (t->a_zero != NULL)
		y = _mm256_fmadd_ps(_mm256_set1_ps(-(float) t->a_zero[r]), _mm256_loadu_ps(t->b_sums + h * 8), y);
	y = t->bias != NULL ? _mm256_fmadd_ps(y, _mm256_set1_ps(t->a_scale[r]), _mm256_loadu_ps(t->bias + h * 8)) :
		_mm256_mul_ps(y, _mm256_set1_ps(t->a_scale[r]));
	_mm256_storeu_ps(t->c + r * t->c_stride + h * 8, y);
}
