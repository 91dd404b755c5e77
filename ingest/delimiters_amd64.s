#include "textflag.h"

// func delimitersAVX2(commas, quotes, src *byte, n int)
TEXT ·delimitersAVX2(SB), NOSPLIT, $0-32
	MOVQ commas+0(FP), DI
	MOVQ quotes+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ n+24(FP), CX
	MOVL $0x2c, AX            // comma
	MOVQ AX, X0
	VPBROADCASTB X0, Y0
	MOVL $0x22, AX            // quote
	MOVQ AX, X1
	VPBROADCASTB X1, Y1

word:
	VMOVDQU (SI), Y2
	VMOVDQU 32(SI), Y3
	VPCMPEQB Y0, Y2, Y4
	VPCMPEQB Y1, Y2, Y2
	VPCMPEQB Y0, Y3, Y5
	VPCMPEQB Y1, Y3, Y3
	VPMOVMSKB Y4, AX
	VPMOVMSKB Y5, DX
	SHLQ $32, DX
	ORQ DX, AX
	MOVQ AX, (DI)
	VPMOVMSKB Y2, AX
	VPMOVMSKB Y3, DX
	SHLQ $32, DX
	ORQ DX, AX
	MOVQ AX, (BX)
	ADDQ $64, SI
	ADDQ $8, DI
	ADDQ $8, BX
	DECQ CX
	JNZ word
	VZEROUPPER
	RET
