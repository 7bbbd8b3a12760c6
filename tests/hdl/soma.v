// One neuron's step 2 (integrate) and the decay of I_AHP of step 3, of docs/emulator_specification.md.
//
// The look-up tables are ROMs read from h.hex, feedback.hex and gate.hex. Widths: currents 31 bits; FEEDBACK 28 bits (at most
// 2^27) and NOISE 28 bits with sign (65535 / 65536 of an AMP of at most 2^27). The sum behind drive, and net, are exactly 32
// bits with sign, as the page claims ("fit 32 bits by the limits on their parts"): were the claim wrong, words would wrap here.
module soma (
    input  wire               clk,
    input  wire               load,
    input  wire [23:0]        load_v,
    input  wire [30:0]        load_refractory,
    input  wire [30:0]        load_ahp,
    input  wire [23:0]        load_d,
    input  wire [30:0]        dc,
    input  wire [30:0]        leak,
    input  wire [23:0]        v_spike,
    input  wire [30:0]        refractory_steps,
    input  wire [24:0]        jump_ahp,
    input  wire [30:0]        full_ahp,
    input  wire [24:0]        decay_ahp,
    input  wire [30:0]        gain,
    input  wire               step,
    input  wire [30:0]        excitatory,   // I_SYN after step 1
    input  wire [30:0]        gated,
    input  wire [30:0]        shunting,
    input  wire [30:0]        subtractive,
    input  wire signed [27:0] noise,
    output reg  [23:0]        v,
    output reg  [30:0]        refractory,
    output reg  [30:0]        ahp,
    output reg                spike
);
    localparam [23:0] GOLDEN = 24'd10368889;
    reg [16:0] h[0:1023];
    reg [16:0] gate[0:1023];
    reg [27:0] feedback[0:1023];
    initial begin
        $readmemh("h.hex", h);
        $readmemh("gate.hex", gate);
        $readmemh("feedback.hex", feedback);
    end

    reg  [23:0] d;
    wire [9:0]  j = v[23:14];
    // GATE and H are at most 2^16: the shifted products are no wider than the current that they scale.
    wire [46:0] gated_product = {16'd0, gated} * {30'd0, gate[j]};
    wire signed [31:0] input_sum = $signed({1'b0, dc}) + $signed({1'b0, excitatory})
                                   + $signed({1'b0, gated_product[46:16]}) - $signed({1'b0, subtractive});
    wire [31:0] drive = input_sum[31] ? 32'd0 : input_sum;
    wire [47:0] drive_product = {16'd0, drive} * {31'd0, h[j]};
    wire signed [31:0] net = $signed(drive_product[47:16]) - $signed({1'b0, leak}) - $signed({1'b0, shunting})
                             - $signed({1'b0, ahp}) + $signed({4'd0, feedback[j]}) + noise;
    wire signed [63:0] rise = (net * $signed({1'b0, gain}) + 64'sd32768) >>> 16;
    wire signed [63:0] sum = $signed({40'd0, v}) + rise;
    wire [63:0] raised = sum[63] ? 64'd0 : sum;
    wire fired = refractory == 0 && raised >= {40'd0, v_spike};

    // As in dpi.v; the jump comes before the decay, with the same dither.
    wire signed [31:0] gap = $signed({1'b0, full_ahp}) - $signed({1'b0, ahp});
    wire signed [55:0] jump_product = $signed({1'b0, jump_ahp}) * gap + $signed({1'b0, d});
    wire signed [55:0] jumped_wide = $signed({25'd0, ahp}) + (jump_product >>> 24);
    wire [30:0] jumped = fired ? jumped_wide[30:0] : ahp;
    wire [54:0] decay_product = {24'd0, jumped} * {30'd0, decay_ahp} + {31'd0, d};
    wire [54:0] decayed = {24'd0, jumped} - (decay_product >> 24);

    always @(posedge clk) begin
        if (load) begin
            v <= load_v;
            refractory <= load_refractory;
            ahp <= load_ahp;
            d <= load_d;
            spike <= 1'b0;
        end else if (step) begin
            v <= fired || refractory > 0 ? 24'd0 : raised[23:0];
            refractory <= fired ? refractory_steps : refractory > 0 ? refractory - 31'd1 : 31'd0;
            ahp <= decayed[30:0];
            d <= d + GOLDEN;
            spike <= fired;
        end
    end
endmodule
