// The word of one DPI circuit (I_SYN[k] and PULSE[k]): steps 1 (deliver) and 3 (decay) of docs/emulator_specification.md.
//
// Every width is the one that the page's ranges demand, so a wrong claim about a range shows up as a wrapped word:
// currents 31 bits (fA), pulses 31 bits (steps), fractions 25 bits (0 .. ONE, ONE = 2^24 itself included).
module dpi (
    input  wire        clk,
    input  wire        load,        // put the words of a saved state back
    input  wire [30:0] load_i,
    input  wire [30:0] load_pulse,
    input  wire [23:0] load_d,
    input  wire        finite,      // finite pulses; else ideal ones
    input  wire [30:0] full,
    input  wire [24:0] decay,
    input  wire        hear,        // one CAM entry is reached, with the event word e
    input  wire [30:0] e,
    input  wire        step,        // all events of the step are in: do the step
    output reg  [30:0] i,
    output reg  [30:0] pulse,
    output reg  [23:0] d,           // dither of the step to come
    output wire [30:0] delivered    // I_SYN after step 1: what the soma sees
);
    localparam [30:0] ONE = 31'd16777216;
    localparam [23:0] GOLDEN = 24'd10368889;

    // The events of a step, combined one by one; their order does not matter.
    reg  [30:0] s;
    wire [31:0] sum = {1'b0, s} + {1'b0, e};
    wire [30:0] s_next = finite ? (e > s ? e : s) : (sum > {1'b0, ONE} ? ONE : sum[30:0]);

    // I + ((fraction * (FULL - I) + d) >> 24). FULL may lie below I, so the product with the dither goes from
    // -(2^31 - 1) 2^24 to (2^31 - 1) 2^24 + 2^24 - 1 = 2^55 - 1: 56 bits with the sign.
    function [30:0] charged(input [30:0] from, input [24:0] fraction, input [30:0] to, input [23:0] dither);
        reg signed [31:0] gap;
        reg signed [55:0] product;
        reg signed [55:0] moved;
        begin
            gap = $signed({1'b0, to}) - $signed({1'b0, from});
            product = $signed({1'b0, fraction}) * gap + $signed({1'b0, dither});
            moved = $signed({25'd0, from}) + (product >>> 24);
            charged = moved[30:0];
        end
    endfunction

    // I - ((I * fraction + d) >> 24): at most 2^55 - 1 again, here without a sign.
    function [30:0] decayed(input [30:0] from, input [24:0] fraction, input [23:0] dither);
        reg [54:0] product;
        reg [54:0] left;
        begin
            product = {24'd0, from} * {30'd0, fraction} + {31'd0, dither};
            left = {24'd0, from} - (product >> 24);
            decayed = left[30:0];
        end
    endfunction

    assign delivered = finite ? i : charged(i, s[24:0], full, d);
    wire [30:0] running = finite && s > pulse ? s : pulse;

    always @(posedge clk) begin
        if (load) begin
            i <= load_i;
            pulse <= load_pulse;
            d <= load_d;
            s <= 31'd0;
        end else if (hear) begin
            s <= s_next;
        end else if (step) begin
            i <= running > 0 ? charged(delivered, decay, full, d) : decayed(delivered, decay, d);
            pulse <= running > 0 ? running - 31'd1 : 31'd0;
            d <= d + GOLDEN;  // 24 bits: clock * 10368889 mod 2^24
            s <= 31'd0;
        end
    end
endmodule
