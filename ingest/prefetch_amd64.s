#include "textflag.h"

// func prefetchSlots(slots *addressSlot, places *int, n int)
TEXT ·prefetchSlots(SB), NOSPLIT, $0-24
	MOVQ slots+0(FP), DI
	MOVQ places+8(FP), SI
	MOVQ n+16(FP), CX

place:
	MOVQ (SI), AX
	SHLQ $4, AX               // bytes of a slot
	PREFETCHT0 (DI)(AX*1)
	ADDQ $8, SI
	DECQ CX
	JNZ place
	RET
